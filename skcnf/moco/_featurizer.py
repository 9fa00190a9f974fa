"""Turn images into MoCo features."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, check_memory
from torch import Tensor, nn

from skcnf._core.devices import autocast, resolve_device
from skcnf._core.files import check_output
from skcnf._core.progress import progress_bar
from skcnf._core.row_files import RowArray, RowFile
from skcnf.images import (
    DecodedImage,
    ImageSource,
    Intensity,
    check_intensity,
    count_threads,
    decoded_batches,
    digest,
    image_source,
    is_stream,
    iter_batches,
    resize_and_crop,
    stack_images,
)
from skcnf.moco._encoders import LARGEST_IMAGE, EncoderSpec
from skcnf.moco._encoding import (
    ImageFeatures,
    encode_in_tiles,
    image_noise,
    output_width,
    resolve_encoder,
    tile_length,
    weights_digest,
)

__all__ = ["MocoFeaturizer"]


def _featurize(content: str, featurizer: MocoFeaturizer, source: ImageSource) -> np.ndarray:
    """Compute what `MocoFeaturizer.memory` caches; ``content`` names all that the result depends on."""
    return featurizer._featurize(source)


class MocoFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of images under a MoCo encoder: the output of its head.

    Parameters
    ----------
    weights : str, path or torch.nn.Module, default="tinyimagenet32"
        The bundled encoder's name; the name of an official checkpoint, "moco_v1_200ep", "moco_v2_200ep" or
        "moco_v2_800ep", which is downloaded to torch hub's cache; a MoCo v1 or v2 checkpoint file in the official
        layout (the version is told from its keys); a file written by `skcnf.save_encoder`; a model of another library,
        "timm:NAME", "torchvision:NAME" or "hf:NAME", see `skcnf.moco.named_backbone`; or any module that maps
        (n, 3, s, s) to (n, d).
    image_size : int or None, default=None
        Images are resized by their short side to this many pixels, with antialiasing, and centre-cropped. None takes
        the encoder's own (224 for a module that does not tell).
    intensity : tuple (low, high) or None, default=None
        The pixel values that become black and white, for images of more than 8 bits, as 16-bit and float TIFFs are;
        values outside are clipped. None scales 16-bit images by their full range, 0 to 65,535, and refuses others.
        The range is never an image's own, so that a dark image stays dark. 8-bit images are taken as they are.
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
    precision : {"float32", "bfloat16"}, default="float32"
        Of the encoder's products; features are float32 either way. "bfloat16" takes half the time on a CPU with
        AVX-512 BF16 instructions (CPUs with AMX and most GPUs have it too), and changes features by about a hundredth
        of their size: use the same for all images of a model. An exported model has "float32".
    memory : None, str, path or joblib.Memory, default=None
        Folder of a cache. Its key is the images' content, the weights and all parameters that matter: folds and grid
        candidates that meet the same array again do not encode it again, in worker processes too. Datasets are not
        cached. The cache holds pickles: point it at a folder of your own.
    n_jobs : int or None, default=None
        Threads that decode images which are not in an array; None is one, -1 one for each core.
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
    ``transform`` takes

    - arrays of RGB images (n, h, w, 3) or grey ones (n, h, w), and torch tensors (n, 3, h, w), of uint8, or of other
      types by ``intensity``;
    - a folder (searched through, in the order of its sorted paths), a zip file, a glob pattern or an image file;
    - a list or Series of paths, PIL images or arrays (h, w, 3) or (h, w);
    - a torch Dataset whose items are images or tuples that begin with one;
    - an iterator of paths or images, a camera's frames for instance, which are not kept.

    Files and PIL images of any mode become RGB: upright by their EXIF tag, transparency over white.

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
        "image_size": [None, Interval(Integral, 1, LARGEST_IMAGE, closed="both")],
        "intensity": [None, "array-like"],
        "low_res_size": [None, Interval(Integral, 1, LARGEST_IMAGE, closed="both")],
        "normalize": ["boolean"],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "precision": [StrOptions({"float32", "bfloat16"})],
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
        intensity: Intensity | None = None,
        low_res_size: int | None = None,
        normalize: bool = True,
        noise_std: float = 0.0,
        batch_size: int = 256,
        device: str | torch.device = "auto",
        precision: str = "float32",
        memory: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.weights = weights
        self.image_size = image_size
        self.intensity = intensity
        self.low_res_size = low_res_size
        self.normalize = normalize
        self.noise_std = noise_std
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
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
        if not is_stream(X):
            image_source(X, check_intensity(self.intensity))
        resolve_device(self.device)
        encoder = resolve_encoder(self.weights)
        size = self.image_size or getattr(encoder, "spec", EncoderSpec()).image_size
        width = output_width(encoder, size)
        # without noise nothing is drawn, not even from the global generator that random_state=None stands for
        seed = int(check_random_state(self.random_state).randint(2**31 - 1)) if self.noise_std > 0 else 0
        self._set_encoder(encoder, width, seed)
        return self

    def _set_encoder(self, encoder: nn.Module, n_features_out: int, seed: int) -> None:
        """Set all fitted attributes; a saved featurizer is restored by this."""
        self.encoder_, self._spec, self._seed = encoder, getattr(encoder, "spec", EncoderSpec()), seed
        self._size, self._intensity = self.image_size or self._spec.image_size, check_intensity(self.intensity)
        self._digest = weights_digest(encoder)
        self.n_features_out_ = self._n_features_out = n_features_out

    def transform(self, X: Any) -> np.ndarray:
        """Featurise images.

        Parameters
        ----------
        X : images
            See the notes of the class.

        Returns
        -------
        ndarray of shape (n_images, n_features), dtype float32

        Raises
        ------
        ValueError
            If X is malformed, or a file cannot be read (naming it).
        """
        check_is_fitted(self)
        if is_stream(X):
            return self._transform_stream(X)
        source = image_source(X, self._intensity)
        content = digest(source, self._intensity) if self.memory is not None else None
        if content is None:
            return self._featurize(source)
        memory = os.fspath(self.memory) if isinstance(self.memory, os.PathLike) else self.memory
        cached = check_memory(memory).cache(_featurize, ignore=["featurizer", "source"])
        return cached(f"{content} {self._identity}", self, source)

    def transform_to_file(self, X: Any, path: str | os.PathLike[str]) -> np.ndarray:
        """Featurise images into an ``.npy`` file, so that neither they nor their features need to fit in memory.

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
        memmap of shape (n_images, n_features), dtype float32
            Read-only; detectors take it as it is.

        Raises
        ------
        ValueError
            If X is malformed, or a file cannot be read (naming it). What is done by then is kept for the next call.
        OSError
            If ``path`` cannot be written, another run is writing it (naming its process), or the disk is full.
        """
        check_is_fitted(self)
        source = image_source(X, self._intensity)
        shape = (len(source), self.n_features_out_)
        check_output(path)
        with RowFile(path, shape, "float32", f"{digest(source, self._intensity)} {self._identity}") as rows:
            return self._fill(source, rows)

    def stream(self, X: Any, *, start: int = 0, stop: int | None = None) -> Iterator[list[ImageFeatures]]:
        """Featurise images as they come, in bounded memory. One that cannot be read stops no other.

        Features are those of `transform`, bit for bit, however the images fall into batches. So what `stream` gives
        after a run was cut, from ``start`` on, is what it would have given without the cut.

        Parameters
        ----------
        X : images
            See the notes of the class. An iterator may go on without end and pause as long as it likes: it is read in
            a thread of its own, up to ``batch_size`` images ahead, and an image waits for others for a tenth of a
            second at most.
        start : int, default=0
            Images to pass over.
        stop : int, optional
            End before the image of this number in X.

        Yields
        ------
        list of ImageFeatures
            Up to ``batch_size``, in the order of the images.

        Raises
        ------
        ValueError
            If X is malformed.

        Examples
        --------
        >>> import numpy as np
        >>> from skcnf import MocoFeaturizer
        >>> frames = (np.full((32, 32, 3), grey, dtype=np.uint8) for grey in range(3))
        >>> featurizer = MocoFeaturizer().fit(frames)  # only looks at the weights
        >>> for batch in featurizer.stream(frames):
        ...     for image in batch:
        ...         print(image.name, image.features.shape)
        0 (128,)
        1 (128,)
        2 (128,)
        """
        check_is_fitted(self)
        encoder, device = self._encoder_on_device()
        for batch in self._decoded(X, start, stop):
            images = [decoded.image for decoded in batch if decoded.image is not None]
            rows = iter(self._encode(encoder, torch.stack(images).to(device)) if images else ())
            yield [
                ImageFeatures(decoded.index, decoded.name, None if decoded.image is None else next(rows), decoded.error)
                for decoded in batch
            ]

    def _decoded(self, X: Any, start: int = 0, stop: int | None = None) -> Iterator[list[DecodedImage]]:
        n, threads = self.batch_size, count_threads(self.n_jobs)
        return decoded_batches(X, self._resize, n, n_threads=threads, start=start, stop=stop, intensity=self._intensity)

    def _transform_stream(self, images: Iterator[Any]) -> np.ndarray:
        encoder, device = self._encoder_on_device()
        parts = [self._encode(encoder, stack_images(batch).to(device)) for batch in self._decoded(images)]
        if not parts:
            raise ValueError("X holds no image; at least 1 is needed.")
        return np.concatenate(parts)

    @property
    def _identity(self) -> str:
        """Return a name for all that features depend on, but the images."""
        device = resolve_device(self.device)
        parts = [self._digest, self._size, self._intensity, self.low_res_size, self.normalize, self.noise_std]
        parts += [self._seed] if self.precision == "float32" else [self._seed, self.precision]
        return " ".join(map(str, (*parts, tile_length(self._size, device, self.batch_size), device.type)))

    def _featurize(self, source: ImageSource) -> np.ndarray:
        return self._fill(source, RowArray((len(source), self.n_features_out_), "float32"))

    def _fill(self, source: ImageSource, rows: RowArray | RowFile) -> np.ndarray:
        encoder, device = self._encoder_on_device()
        batches = iter_batches(
            source,
            self.batch_size,
            self._resize,
            device=device,
            n_threads=count_threads(self.n_jobs),
            start=rows.n_done,
            intensity=self._intensity,
        )
        with progress_bar(total=len(source), initial=rows.n_done, unit="image", verbose=self.verbose) as bar:
            for images in batches:
                rows.append(self._encode(encoder, images))
                bar.update(len(images))
        return rows.finish()

    def _encoder_on_device(self) -> tuple[nn.Module, torch.device]:
        device = resolve_device(self.device)
        encoder: nn.Module = self.encoder_.to(device)
        return encoder.to(memory_format=torch.channels_last), device

    @torch.inference_mode()
    def _encode(self, encoder: nn.Module, batch: Tensor) -> np.ndarray:
        """Return features (n, d), float32, of uint8 images (n, 3, s, s)."""
        n_tile = tile_length(self._size, batch.device, self.batch_size)
        with autocast(batch.device, self.precision):
            rows = encode_in_tiles(encoder, self._spec, batch, n_tile, self.normalize).cpu().numpy()
        if self.noise_std > 0:
            noise = [image_noise(image, self._seed, rows.shape[1]) for image in batch.cpu().numpy()]
            rows += self.noise_std * np.stack(noise)
        return rows

    def _resize(self, images: Tensor) -> Tensor:
        if self.low_res_size is not None:
            images = resize_and_crop(images, self.low_res_size)
        return resize_and_crop(images, self._size)

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
