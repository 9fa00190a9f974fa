"""CSI behind the contract of detectors; `skcnf.detectors.images._losses` has its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from skcnf.detectors._base import FitRows
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors.images._base import BaseImageDetector, standardized
from skcnf.detectors.images._losses import contrast_and_shift_weights, csi_score, nt_xent
from skcnf.detectors.images._transforms import N_ROTATIONS, rotate
from skcnf.images import Augmentation
from skcnf.moco._encoders import before_head

__all__ = ["CSIDetector"]


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class CSIDetector(BaseImageDetector):
    """CSI: score by the nearest training feature of a contrastive encoder to which a rotated image is another image.

    Tack et al.: an encoder learns, from inliers alone, to pull two augmented views of an image together and to push all
    other images away, the rotated copies of the same image among them; a second head tells the rotation.
    ``score_samples`` adds up, over the four rotations, the cosine similarity to the nearest training image times the
    norm of the feature, and the second head's logit for the right rotation, each divided by its mean over the training
    images: about 8 for inliers; higher = more normal.

    Parameters
    ----------
    {image_parameters}
    temperature : float, default=0.5
        Divides the similarities in the contrastive loss.
    shift_weight : float, default=1.0
        The weight of the rotation head's cross-entropy beside the contrastive loss; the paper's lambda.
    min_crop : float in (0, 1], default=0.08
        The smallest area of a training view, as a share of the image.
    n_views : int, default=10
        The score takes features averaged over so many augmented views of each rotation; the same for every image.
    score_crop : float in (0, 1], default=0.54
        The area of these views, as a share of the image.
    {calibration_parameters}
    {device_parameters}

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The trained encoder, with its projection head.
    shift_coef_, shift_intercept_ : ndarray of shape (4, n_trunk) and (4,)
        The second head, over what the projection head takes.
    directions_ : ndarray of shape (4, n_train, n_projection)
        The features of the training images under each rotation, at unit norm.
    contrast_weights_, shift_weights_ : ndarray of shape (4,)
        The weights of equations 7 and 8.
    view_seed_ : int
        Draws the views that the score averages over.
    {image_attributes}

    Notes
    -----
    The training score of an image is that of its nearest training image, itself: with a float ``contamination`` the
    threshold is too high for new images.

    As in the authors' code, features are averaged over the views before they are compared (the paper averages scores),
    and views are crops with colour jitter. It trains for 1,000 epochs with LARS, batches of 128 images (1,024 views), a
    ResNet-18 of width 64; this is SGD, and what ``arch``, ``width``, ``n_epochs`` and ``batch_size`` say.

    References
    ----------
    Tack, Mo, Jeong and Shin, "CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances",
    NeurIPS 2020, equations 2 to 8; the authors' code: github.com/alinlab/CSI.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import CSIDetector
    >>> ramp = np.linspace(0, 255, 16).astype(np.uint8)[:, None, None]  # dark above, bright below
    >>> images = np.random.default_rng(0).integers(0, 60, (60, 16, 16, 3)).astype(np.uint8) // 2 + ramp // 2
    >>> detector = CSIDetector(arch="resnet10", width=8, image_size=16, contamination=0.1, n_views=2, random_state=0)
    >>> detector = detector.fit(images)
    >>> upright, turned = detector.score_samples([images[0], np.rot90(images[0]).copy()])
    >>> bool(upright > turned)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseImageDetector._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "shift_weight": [Interval(Real, 0, None, closed="left")],
        "min_crop": [Interval(Real, 0, 1, closed="right")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "score_crop": [Interval(Real, 0, 1, closed="right")],
    }
    _loss_parameters: ClassVar[tuple[str, ...]] = ("temperature", "shift_weight", "min_crop")

    temperature: float = 0.5
    shift_weight: float = 1.0
    min_crop: float = 0.08
    n_views: int = 10
    score_crop: float = 0.54

    def _network(self) -> nn.Module:
        return _CSINetwork(self._start())

    def _losses(self, network: Any, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        copies = pixels.repeat(2 * N_ROTATIONS, 1, 1, 1)  # (view, rotation, image)
        augmentation = Augmentation(crop_scale=(self.min_crop, 1.0))
        # Mirrored before it is turned: a turned image that is mirrored afterwards was turned the other way.
        views = augmentation.apply(copies, augmentation.draw(len(copies), generator)).chunk(2 * N_ROTATIONS)
        x = torch.cat([rotate(view, number % N_ROTATIONS) for number, view in enumerate(views)])
        with self._autocast(network, x.device):
            z, logits = network(standardized(network.encoder, x))
        z, logits = z.float(), logits.float()
        turns = torch.arange(N_ROTATIONS, device=x.device).repeat_interleave(len(images)).repeat(2)
        first, second = F.normalize(z, dim=1).chunk(2)
        contrast = nt_xent(first, second, self.temperature)
        shift = F.cross_entropy(logits, turns)
        accuracy = (logits.argmax(1) == turns).float().mean()
        loss = contrast + self.shift_weight * shift
        return {"loss": loss, "contrast": contrast, "shift": shift, "shift_accuracy": accuracy}

    def _keep(self, network: Any, rows: FitRows) -> None:
        self.encoder_, shift = network.encoder, network.shift
        self.shift_coef_, self.shift_intercept_ = shift.weight.cpu().numpy(), shift.bias.cpu().numpy()
        self.view_seed_ = rows.seed
        features = torch.from_numpy(self._in_tiles(self._features, rows.train)).movedim(1, 0)
        z, logits = features[:, :, :-1], features[:, :, -1]
        self.directions_ = F.normalize(z, dim=2).contiguous().numpy()
        weights = contrast_and_shift_weights(z, logits)
        self.contrast_weights_, self.shift_weights_ = (weight.numpy() for weight in weights)

    def _score_tile(self, images: Tensor) -> Tensor:
        features = self._features(images).movedim(1, 0)
        fitted = (self.directions_, self.contrast_weights_, self.shift_weights_)
        tensors = (torch.as_tensor(array, device=images.device) for array in fitted)
        return csi_score(features[:, :, :-1].contiguous(), features[:, :, -1], *tensors)[:, None]

    def _features(self, images: Tensor) -> Tensor:
        """The projections and the right logit, side by side (n, 4, n_projection + 1), averaged over the views."""
        pixels, generator = images.float() / 255, torch.Generator().manual_seed(self.view_seed_)
        augmentation = Augmentation(crop_scale=(self.score_crop, self.score_crop))
        features = []
        for turn in range(N_ROTATIONS):
            views = []
            for _ in range(self.n_views):
                draws = augmentation.draw(1, generator).rows(torch.zeros(len(images), dtype=torch.long))
                views.append(self._features_of(rotate(augmentation.apply(pixels, draws), turn), turn))
            features.append(torch.stack(views).mean(0))
        return torch.stack(features, dim=1)

    def _features_of(self, x: Tensor, turn: int) -> Tensor:
        """The projection and the logit of a rotation, side by side, for images (n, 3, s, s) in [0, 1]."""
        with self._autocast(self.encoder_, x.device):
            h = before_head(self.encoder_, standardized(self.encoder_, x))
            z = self.encoder_.fc(h).float()
        h = h.float()
        coef, intercept = (
            torch.as_tensor(array, device=h.device) for array in (self.shift_coef_, self.shift_intercept_)
        )
        return torch.cat([z, h @ coef[turn, :, None] + intercept[turn]], dim=1)


class _CSINetwork(nn.Module):
    """An encoder with the rotation head beside its projection head."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.shift = nn.Linear(encoder.spec.trunk_features, N_ROTATIONS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Projections (n, d) and logits (n, 4) of standardised images (n, 3, s, s)."""
        h = before_head(self.encoder, x)
        return self.encoder.fc(h), self.shift(h)
