"""MocoFeaturizer: images in, MoCo features out."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted, check_memory
from torch import Tensor, nn

from skcnf._core.devices import resolve_device
from skcnf._core.files import check_output
from skcnf._core.row_files import RowArray, RowFile
from skcnf.images import (
    count_workers,
    digest,
    image_source,
    iter_batches,
    progress,
    resize_and_crop,
    standardize_images,
)
from skcnf.moco._encoders import EncoderSpec
from skcnf.moco._weights import resolve_weights

__all__ = ["MocoFeaturizer"]


def resolve_encoder(weights: str | os.PathLike[str] | nn.Module) -> nn.Module:
    """The encoder that ``weights`` names or is (then a copy), in evaluation mode, float32, on the CPU."""
    return copy.deepcopy(weights).cpu().float().eval() if isinstance(weights, nn.Module) else resolve_weights(weights)


def _featurize(content: str, featurizer: MocoFeaturizer, source: Sequence[Any]) -> np.ndarray:
    """What `MocoFeaturizer.memory` caches: ``content`` names all that the result depends on."""
    return featurizer._featurize(source)


def _weights_digest(encoder: nn.Module) -> str:
    hasher = hashlib.blake2b(repr(getattr(encoder, "spec", encoder)).encode(), digest_size=16)
    for name, tensor in encoder.state_dict().items():
        hasher.update(name.encode())
        hasher.update(np.ascontiguousarray(tensor.numpy()))
    return hasher.hexdigest()


class MocoFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of images under a MoCo encoder: the output of its head.

    Parameters
    ----------
    weights : str, path or torch.nn.Module, default="tinyimagenet32"
        The bundled encoder's name; the name of an official checkpoint, "moco_v1_200ep", "moco_v2_200ep" or
        "moco_v2_800ep", which is downloaded to torch hub's cache; a MoCo v1 or v2 checkpoint file in the official
        layout (the version is told from its keys); a file written by `skcnf.save_encoder`; or any module that maps
        (n, 3, s, s) to (n, d).
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
    memory : None, str, path or joblib.Memory, default=None
        Folder of a cache. Its key is the images' content, the weights and all parameters that matter: folds and grid
        candidates that meet the same array again do not encode it again, in worker processes too. Datasets are not
        cached. The cache holds pickles: point it at a folder of your own.
    n_jobs : int or None, default=None
        Processes that decode images which are not in an array; None is this process, -1 all cores.
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
    (searched through, in the order of its sorted paths) or zip file, or a torch Dataset whose items are images or
    tuples that begin with one. Files and PIL images of any mode become RGB: upright by their EXIF tag, transparency
    over white.

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
        "memory": [None, str, os.PathLike, HasMethods(["cache"])],
        "n_jobs": [None, Integral],
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
        memory: Any = None,
        n_jobs: int | None = None,
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
        self.memory = memory
        self.n_jobs = n_jobs
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
        self._digest = _weights_digest(encoder)
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
        content = digest(source) if self.memory is not None else None
        if content is None:
            return self._featurize(source)
        memory = os.fspath(self.memory) if isinstance(self.memory, os.PathLike) else self.memory
        cached = check_memory(memory).cache(_featurize, ignore=["featurizer", "source"])
        return cached(f"{content} {self._identity}", self, source)

    def transform_to_file(self, X: Any, path: str | os.PathLike[str]) -> np.ndarray:
        """Featurise images that, or whose features, do not fit in memory, into an ``.npy`` file.

        A run that was cut goes on where it stopped and loses at most one batch: call it again with the same images,
        parameters and path. Of a Dataset only the length is compared.

        Parameters
        ----------
        X : images
            See the notes of the class.
        path : path
            The file to write; while it is being written it is called ``PATH.part``.

        Returns
        -------
        memmap of shape (n_images, n_features_out_), dtype float32
            Read-only; detectors take it as it is.

        Raises
        ------
        ValueError
            If X is malformed, or a file cannot be read (naming it). What is done by then is kept for the next call.
        OSError
            If ``path`` cannot be written, another run is writing it (naming its process), or the disk is full.
        """
        check_is_fitted(self)
        source = image_source(X)
        shape = (len(source), self.n_features_out_)
        check_output(path)
        with RowFile(path, shape, "float32", f"{digest(source)} {self._identity}") as rows:
            return self._fill(source, rows)

    @property
    def _identity(self) -> str:
        """Names everything but the images that features depend on."""
        parts = (self._digest, self._size, self.low_res_size, self.normalize, self.noise_std, self._seed)
        return " ".join(map(str, (*parts, self.batch_size, resolve_device(self.device).type)))

    def _featurize(self, source: Sequence[Any]) -> np.ndarray:
        return self._fill(source, RowArray((len(source), self.n_features_out_), "float32"))

    def _fill(self, source: Sequence[Any], rows: RowArray | RowFile) -> np.ndarray:
        device = resolve_device(self.device)
        encoder = self.encoder_.to(device, memory_format=torch.channels_last)
        n_workers = count_workers(self.n_jobs)
        batches = iter_batches(
            source, self.batch_size, self._resize, device=device, n_workers=n_workers, start=rows.n_done
        )
        with progress(len(source), rows.n_done, self.verbose) as bar:
            for images in batches:
                rows.append(self._encode(encoder, images))
                bar.update(len(images))
        return rows.finish()

    @torch.inference_mode()
    def _encode(self, encoder: nn.Module, batch: Tensor) -> np.ndarray:
        x = standardize_images(batch.float().div_(255), self._spec.mean, self._spec.std)
        features = encoder(x.contiguous(memory_format=torch.channels_last)).float()
        if self.normalize:
            features = F.normalize(features, dim=1)
        features = features.cpu().numpy()
        if self.noise_std > 0:
            features += self.noise_std * np.stack([self._noise(image) for image in batch.cpu().numpy()])
        return features

    def _resize(self, images: Tensor) -> Tensor:
        if self.low_res_size is not None:
            images = resize_and_crop(images, self.low_res_size)
        return resize_and_crop(images, self._size)

    def _noise(self, image: np.ndarray) -> np.ndarray:
        key = self._seed.to_bytes(8, "little")
        seed = hashlib.blake2b(image.tobytes(), key=key, digest_size=16).digest()
        generator = np.random.default_rng(int.from_bytes(seed, "little"))
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
