"""Rot+Trans behind the contract of detectors; `skcnf.detectors.images._losses` has its mathematics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from skcnf.detectors._base import FitRows
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors.images._base import BaseImageDetector, standardized
from skcnf.detectors.images._losses import TRANSFORM_CHOICES, transform_log_likelihood
from skcnf.detectors.images._transforms import N_ROTATIONS, rotate, translate
from skcnf.moco._encoders import with_new_head

__all__ = ["RotTransDetector"]


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class RotTransDetector(BaseImageDetector):
    """Rot+Trans: score by how surely an encoder tells how each transformed copy of an image was turned and moved.

    Hendrycks et al.: an encoder with three heads learns, from inliers alone, which of 3 vertical translations, 3
    horizontal ones and 4 rotations made a copy of an image. ``score_samples`` is the sum over all 36 copies of the
    log-probability of the right transformation, in nats, at most 0; higher = more normal.

    Parameters
    ----------
    {image_parameters}
    translation : float, default=0.25
        How far images are moved up, down, left and right, as a share of their side; the paper's 8 of 32 pixels.
    mirror : bool, default=True
        Mirror half of the training images at random.
    {calibration_parameters}
    {device_parameters}

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The trained encoder, whose 10 outputs are the logits of the three heads.
    {image_attributes}

    Notes
    -----
    In a step each image is moved by one translation, drawn at random, and shown in all four rotations; the authors'
    code shows all nine translations in an epoch, so that one epoch there is nine here (and 45 of these what it trains
    for on ImageNet-30). Their published code sums probabilities, not their logarithms.

    References
    ----------
    Hendrycks, Mazeika, Kadavath and Song, "Using Self-Supervised Learning Can Improve Model Robustness and
    Uncertainty", NeurIPS 2019, section 4; the authors' code: github.com/hendrycks/ss-ood.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import RotTransDetector
    >>> ramp = np.linspace(0, 255, 16).astype(np.uint8)[:, None, None]  # dark above, bright below
    >>> images = np.random.default_rng(0).integers(0, 60, (60, 16, 16, 3)).astype(np.uint8) // 2 + ramp // 2
    >>> detector = RotTransDetector(arch="resnet10", width=8, image_size=16, contamination=0.1, random_state=0)
    >>> detector = detector.fit(images)
    >>> upright, turned = detector.score_samples([images[0], np.rot90(images[0]).copy()])
    >>> bool(upright > turned)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseImageDetector._parameter_constraints,
        "translation": [Interval(Real, 0, 0.5, closed="right")],
        "mirror": ["boolean"],
    }
    _loss_parameters: ClassVar[tuple[str, ...]] = ("translation", "mirror")

    translation: float = 0.25
    mirror: bool = True

    def _network(self) -> nn.Module:
        return with_new_head(self._start(), "linear", sum(TRANSFORM_CHOICES))

    def _losses(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        choices = torch.randint(3, (2, len(images)), generator=generator)
        mirrored = torch.rand(len(images), generator=generator) < (0.5 if self.mirror else 0.0)
        down, right = self._steps()[choices].to(images.device)
        moved = translate(images, down, right, mirrored.to(images.device)).float() / 255
        x = torch.cat([rotate(moved, turn) for turn in range(N_ROTATIONS)])
        turns = torch.arange(N_ROTATIONS).repeat_interleave(len(images))
        labels = torch.stack([*choices.repeat(1, N_ROTATIONS), turns], dim=1).to(images.device)
        return {"loss": -transform_log_likelihood(self._logits(network, x), labels).mean()}

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        """Of the three heads (n, 10), float32, for images (n, 3, s, s) in [0, 1]."""
        with self._autocast(network, x.device):
            return network(standardized(network, x)).float()

    def _steps(self) -> Tensor:
        """The three translations in pixels."""
        step = max(1, round(self.translation * self.image_size_))
        return torch.tensor([0, -step, step])

    def _keep(self, network: nn.Module, rows: FitRows) -> None:
        self.encoder_ = network

    def _score_tile(self, images: Tensor) -> Tensor:
        score = torch.zeros(len(images), device=images.device)
        for x, labels in self._copies(images):
            logits = self._logits(self.encoder_, x.float() / 255)
            score += transform_log_likelihood(logits, labels.to(images.device).expand(len(images), 3))
        return score[:, None]

    def _copies(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every transformed copy of images (n, 3, s, s), and what was done (3,)."""
        steps = self._steps().to(images.device)
        for down, right in itertools.product(range(3), range(3)):
            by = (steps[choice].expand(len(images)) for choice in (down, right))
            moved = translate(images.permute(0, 2, 3, 1), *by)
            for turn in range(N_ROTATIONS):
                yield rotate(moved, turn), torch.tensor([down, right, turn])
