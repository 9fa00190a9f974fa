"""MocoFeaturizer: images in, MoCo features out."""

from __future__ import annotations

import copy
import hashlib
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from tqdm import tqdm

from skcnf._images import image_source, iter_image_batches, resize_and_crop
from skcnf._runtime import resolve_device
from skcnf.augment import standardize_images
from skcnf.encoders import EncoderSpec, load_encoder, load_moco_checkpoint

__all__ = ["BUNDLED_ENCODERS", "MocoFeaturizer", "resolve_encoder"]

BUNDLED_ENCODERS = {"tinyimagenet32": Path(__file__).parent / "datasets" / "bundled" / "encoder.safetensors"}


def resolve_encoder(weights: str | os.PathLike[str] | nn.Module) -> nn.Module:
    """The encoder that ``weights`` names, in evaluation mode, float32, on the CPU.

    Raises
    ------
    ValueError
        If ``weights`` is neither a bundled name, a readable encoder file, nor a module.
    """
    if isinstance(weights, nn.Module):
        return copy.deepcopy(weights).cpu().float().eval()
    path = BUNDLED_ENCODERS.get(str(weights), Path(weights))
    if not path.is_file():
        raise ValueError(
            f"weights={str(weights)!r} is neither a bundled encoder ({', '.join(BUNDLED_ENCODERS)}) nor a file; give "
            "one of these, a MoCo v1 / v2 checkpoint file, a file of save_encoder, or a torch module."
        )
    return load_encoder(path) if path.suffix == ".safetensors" else load_moco_checkpoint(path)


class MocoFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of images under a MoCo encoder: the output of its head.

    Parameters
    ----------
    weights : str, path or torch.nn.Module, default="tinyimagenet32"
        The bundled encoder's name; a MoCo v1 or v2 checkpoint file in the official layout (the version is told from its
        keys); a file written by `skcnf.save_encoder`; or any module that maps (n, 3, s, s) to (n, d).
    image_size : int or None, default=None
        Images are resized by their short side to this many pixels, with antialiasing, and centre-cropped. None takes
        the encoder's own (224 for a module that does not tell).
    low_res_size : int or None, default=None
        Images are first shrunk to this size, so that large and small images share their resolution.
    normalize : bool, default=True
        Scale features to unit Euclidean norm.
    noise_std : float, default=0.0
        Standard deviation of normal noise, added after normalising. It is a function of the image and ``random_state``
        alone, so that order and subset do not matter.
    batch_size : int, default=256
        Images encoded at a time.
    device : str or torch.device, default="auto"
        "auto" is CUDA, else the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds the noise.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Attributes
    ----------
    encoder_ : torch.nn.Module
    n_features_out_ : int

    Notes
    -----
    ``transform`` takes uint8 arrays (n, h, w, 3), lists of PIL images, of paths or of arrays (h, w, 3), a folder
    (searched through, in the order of its sorted paths), or a torch Dataset whose items are images or tuples that begin
    with one. Files and PIL images of any mode become RGB: upright by their EXIF tag, transparency over white.

    References
    ----------
    He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020;
    Schmier, Köthe and Straehle, section 5, for the use of the head and the normalisation.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MocoFeaturizer
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    >>> MocoFeaturizer().fit_transform(images).shape
    (4, 128)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "weights": [str, os.PathLike, nn.Module],
        "image_size": [None, Interval(Integral, 1, None, closed="left")],
        "low_res_size": [None, Interval(Integral, 1, None, closed="left")],
        "normalize": ["boolean"],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        weights: str | os.PathLike[str] | nn.Module = "tinyimagenet32",
        *,
        image_size: int | None = None,
        low_res_size: int | None = None,
        normalize: bool = True,
        noise_std: float = 0.0,
        batch_size: int = 256,
        device: str | torch.device = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.weights = weights
        self.image_size = image_size
        self.low_res_size = low_res_size
        self.normalize = normalize
        self.noise_std = noise_std
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> MocoFeaturizer:
        """Load the encoder; nothing is learnt from the images.

        Parameters
        ----------
        X : images
            Only checked.
        y : ignored

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If ``weights``, ``device`` or X cannot be used.
        """
        image_source(X)
        resolve_device(self.device)
        encoder = resolve_encoder(self.weights)
        spec = getattr(encoder, "spec", EncoderSpec())
        size = self.image_size or spec.image_size
        with torch.no_grad():
            out = encoder(torch.zeros(1, 3, size, size))
        if not torch.is_tensor(out) or out.ndim != 2:
            raise ValueError(f"weights: the module must map images (n, 3, s, s) to features (n, d); got {type(out)}.")
        # without noise nothing is drawn, not even from the global generator that random_state=None stands for
        seed = int(check_random_state(self.random_state).randint(2**31 - 1)) if self.noise_std > 0 else 0
        self.encoder_, self._spec, self._size, self._seed = encoder, spec, size, seed
        self.n_features_out_ = self._n_features_out = out.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Featurise images.

        Parameters
        ----------
        X : images
            See the notes of the class.

        Returns
        -------
        ndarray of shape (n_images, n_features_out_), dtype float32

        Raises
        ------
        ValueError
            If X is malformed, or a file cannot be read (naming it).
        """
        check_is_fitted(self)
        source = image_source(X)
        device = resolve_device(self.device)
        encoder = self.encoder_.to(device, memory_format=torch.channels_last)
        features = np.empty((len(source), self.n_features_out_), dtype=np.float32)
        start = 0
        with tqdm(total=len(source), unit="image", leave=False, disable=None if self.verbose else True) as bar:
            for images in iter_image_batches(source, self.batch_size):
                rows = slice(start, start + len(images))
                features[rows] = self._encode(encoder, images, device)
                start = rows.stop
                bar.update(len(images))
        return features

    @torch.no_grad()
    def _encode(self, encoder: nn.Module, images: list[np.ndarray], device: torch.device) -> np.ndarray:
        batch = self._prepare(images).to(device)
        x = standardize_images(batch.float() / 255, self._spec.mean, self._spec.std)
        features = encoder(x.contiguous(memory_format=torch.channels_last)).float()
        if self.normalize:
            features = F.normalize(features, dim=1)
        features = features.cpu().numpy()
        if self.noise_std > 0:
            features += self.noise_std * np.stack([self._noise(image) for image in batch.cpu().numpy()])
        return features

    def _prepare(self, images: list[np.ndarray]) -> Tensor:
        """A uint8 batch (n, 3, size, size)."""
        same_size = len({image.shape for image in images}) == 1
        groups = [np.stack(images)] if same_size else [image[None] for image in images]
        return torch.cat([self._resize(torch.from_numpy(group).permute(0, 3, 1, 2)) for group in groups])

    def _resize(self, images: Tensor) -> Tensor:
        if self.low_res_size is not None:
            images = resize_and_crop(images, self.low_res_size)
        return resize_and_crop(images, self._size)

    def _noise(self, image: np.ndarray) -> np.ndarray:
        digest = hashlib.blake2b(image.tobytes(), key=self._seed.to_bytes(8, "little"), digest_size=16).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "little"))
        return generator.standard_normal(self.n_features_out_, dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "encoder_" in state:  # so that it loads on a machine without this one's device
            state = {**state, "encoder_": copy.deepcopy(state["encoder_"]).cpu()}
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags
