"""What the image-level detectors share: the images, the encoder to start from, and training."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from skcnf._core.devices import PRECISIONS, autocast, resolve_device, takes_bfloat16
from skcnf._core.generators import seeded
from skcnf._core.progress import progress_bar
from skcnf._core.rows import row_batches
from skcnf.detectors._base import BaseOutlierDetector, FitRows
from skcnf.detectors._flow import for_scoring
from skcnf.detectors._validation import inlier_mask
from skcnf.detectors.images._training import ImageTrainer
from skcnf.images import as_tensor, load_images, standardize_images
from skcnf.moco import EncoderSpec, build_encoder
from skcnf.moco._backbones import is_backbone_name
from skcnf.moco._encoders import ARCHITECTURES, LARGEST_IMAGE, STEMS
from skcnf.moco._encoding import map_tiles, resolve_encoder, tile_length

__all__ = ["BaseImageDetector", "standardized"]

_SCORING_BATCH = 1024  # images; on a GPU they fill one tile


@dataclass(kw_only=True, eq=False, repr=False)
class BaseImageDetector(BaseOutlierDetector):
    """Base of the detectors that train an encoder on the inliers' images.

    A subclass builds its network (``_network``), states its loss (``_losses``), keeps what it scores with (``_keep``)
    and scores tiles of images (``_score_tile``).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseOutlierDetector._parameter_constraints,
        "weights": [None, str, os.PathLike, nn.Module],
        "arch": [StrOptions(set(ARCHITECTURES))],
        "width": [Interval(Integral, 8, None, closed="left")],
        "stem": [StrOptions(set(STEMS))],
        "image_size": [None, Interval(Integral, 1, LARGEST_IMAGE, closed="both")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "checkpoints": [None, str, os.PathLike],
        "precision": [StrOptions(set(PRECISIONS))],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    weights: str | os.PathLike[str] | nn.Module | None = None
    arch: str = "resnet18"
    width: int = 32
    stem: str = "strided"
    image_size: int | None = None
    n_epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    checkpoints: str | os.PathLike[str] | None = None
    precision: str = "auto"
    device: str | torch.device = "auto"
    verbose: bool = False

    def fit(self, X: Any, y: Any = None) -> BaseImageDetector:
        """Learn what is normal.

        Parameters
        ----------
        X : images
            Inliers: all that `MocoFeaturizer` takes but streams, e.g. a uint8 array (n, h, w, 3), a list of paths or
            of PIL images, a folder, a zip file, a torch Dataset.
        y : array-like of shape (n_samples,) or (n_samples, 1), optional
            Ignored, unless it holds both +1 (inlier) and -1 (anomaly) and nothing else: then images of -1 are left out
            of training and calibration.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is malformed, an image cannot be read (naming it), or ``weights`` cannot be used; ``self`` is
            then left as it was.
        FloatingPointError
            If training diverges; ``self`` is then left as it was.
        OSError
            If ``checkpoints`` cannot be written, or another process trains the same run there.
        """
        super().fit(X, y)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:  # type: ignore[override]
        """``fit(X, y)``, then ``predict(X)``."""
        return self.fit(X, y).predict(X)

    def _checked(self, X: Any, y: Any, X_aux: Any, reset: bool = True) -> tuple[np.ndarray, None]:
        if X_aux is not None:
            raise ValueError(f"X_aux was given, but {type(self).__name__} uses no auxiliary images.")
        resolve_device(self.device)
        # until training starts, the one to start from
        self.encoder_: Any = None if self.weights is None else _own_encoder(self.weights)
        self.image_size_: int = self.image_size or self._spec().image_size
        images = self._rows(X)
        mask = inlier_mask(self, _labels(y), len(images))
        images = images if mask is None else images[mask]
        if len(images) < 2:
            what = "X holds" if mask is None else "y marks as inliers (+1)"
            raise ValueError(f"{what} {len(images)} image; at least 2 are needed.")
        return images, None

    def _rows(self, X: Any) -> np.ndarray:
        """The images as uint8 (n, s, s, 3)."""
        shape = np.shape(X) if isinstance(X, np.ndarray) or hasattr(X, "iloc") else ()
        if len(shape) in (1, 2) and getattr(X, "dtype", np.dtype("O")).kind not in "OU":
            raise ValueError(
                f"X has shape {shape}; {type(self).__name__} takes images (n, h, w, 3) and no features. For a single "
                "grey image pass X[None]."
            )
        return load_images(X, self.image_size_, verbose=self.verbose)

    def _spec(self) -> EncoderSpec:
        """What the encoder is that training starts from."""
        if self.encoder_ is not None:
            return self.encoder_.spec
        return EncoderSpec(self.arch, self.width, self.stem, "mlp", image_size=self.image_size or 32)

    def _start(self) -> nn.Module:
        """The encoder that training starts from; inside `seeded`, where its weights are drawn."""
        return build_encoder(self._spec()) if self.encoder_ is None else self.encoder_

    def _fit_rows(self, rows: FitRows) -> None:
        with seeded(rows.seed):
            network = self._network()
        trainer = ImageTrainer(
            **{name: getattr(self, name) for name in ("n_epochs", "batch_size", "learning_rate", "weight_decay")},
            seed=rows.seed,
            verbose=self.verbose,
            checkpoints=self.checkpoints,
        )
        device = resolve_device(self.device)
        name = {"detector": type(self).__name__, **{name: getattr(self, name) for name in self._loss_parameters}}
        name["bfloat16"] = takes_bfloat16(device, self.precision)
        network = network.to(device).to(memory_format=torch.channels_last)
        self.history_ = trainer.train(network, rows.train, self._losses, name)
        self._keep(for_scoring(network, "float32"), rows)

    _loss_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def _network(self) -> nn.Module:
        """A network to train, built from `_start`; called inside `seeded`."""

    @abstractmethod
    def _losses(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of images (n, s, s, 3), uint8, under "loss", and its parts by other names."""

    @abstractmethod
    def _keep(self, network: nn.Module, rows: FitRows) -> None:
        """Set the fitted attributes by the trained network, which is in evaluation mode."""

    @abstractmethod
    def _score_tile(self, images: Tensor) -> Tensor:
        """The scores (n, 1) of images (n, 3, s, s), uint8, on the device of the encoder."""

    def _autocast(self, network: nn.Module, device: torch.device) -> torch.autocast:
        """The precision of ``network``: with "auto" scores are float32, so that they are the same on every device."""
        is_float32 = self.precision == "auto" and not network.training
        return autocast(device, "float32" if is_float32 else self.precision)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._in_tiles(self._score_tile, X)[:, 0].astype(np.float64)

    def _in_tiles(self, function: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
        """``function`` of tiles of images, so that what it gives for one does not depend on the others."""
        device = next(self.encoder_.parameters()).device
        self.encoder_.to(memory_format=torch.channels_last)
        n_tile = tile_length(self.image_size_, device, _SCORING_BATCH)
        parts = []
        with torch.no_grad(), progress_bar(total=len(images), unit="image", verbose=self.verbose) as bar:
            for rows in row_batches(len(images), _SCORING_BATCH):
                batch = as_tensor(images[rows]).to(device).permute(0, 3, 1, 2)
                parts.append(map_tiles(function, batch, n_tile).cpu().numpy())
                bar.update(len(batch))
        return np.concatenate(parts)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if isinstance(state.get("encoder_"), nn.Module):  # so that it loads on a machine without this one's device
            state = {**state, "encoder_": copy.deepcopy(state["encoder_"]).cpu()}
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def standardized(encoder: nn.Module, images: Tensor) -> Tensor:
    """Images (n, 3, s, s) in [0, 1] as the encoder takes them."""
    spec: Any = encoder.spec
    return standardize_images(images, spec.mean, spec.std).contiguous(memory_format=torch.channels_last)


def _own_encoder(weights: str | os.PathLike[str] | nn.Module) -> nn.Module:
    foreign = isinstance(weights, str) and is_backbone_name(weights)  # refused before it is downloaded
    encoder = None if foreign else resolve_encoder(weights)
    if encoder is None or not isinstance(getattr(encoder, "spec", None), EncoderSpec):
        raise ValueError(
            f"weights={weights if isinstance(weights, str) else type(weights).__name__!r} is no ResNet of this package "
            "or of MoCo's layout, whose last layers can be replaced; give a bundled or official name, a file of "
            "save_encoder, or an encoder of build_encoder, load_encoder or pretrain."
        )
    return encoder


def _labels(y: Any) -> np.ndarray | None:
    if y is None:
        return None
    labels = np.asarray(y)
    if labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1):
        return labels.ravel()
    raise ValueError(f"y has shape {labels.shape}; it must hold a label for each image of X, and no other images.")
