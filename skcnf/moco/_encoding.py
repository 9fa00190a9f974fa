"""Encode images so that an image's features do not depend on the images beside it."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skcnf.images import standardize_images
from skcnf.moco._encoders import EncoderSpec
from skcnf.moco._weights import resolve_weights

__all__ = [
    "ImageFeatures",
    "encode_in_tiles",
    "image_noise",
    "map_tiles",
    "output_width",
    "resolve_encoder",
    "tile_length",
    "weights_digest",
]

_TILE_PIXELS = 2**16  # on a CPU: 64 images of 32 x 32, from where on longer tiles are hardly faster


@dataclass(frozen=True)
class ImageFeatures:
    """What `MocoFeaturizer.stream` tells of one image.

    Attributes
    ----------
    index : int
        Its place in the source, from 0.
    name : str
        Its path, ``ZIP!MEMBER`` (``ZIP!SHEET#K`` for image K of a sheet, from 0), or its index.
    features : ndarray of shape (n_features,), dtype float32, or None
    error : str or None
        Why the image cannot be used, where ``features`` is None.
    """

    index: int
    name: str
    features: np.ndarray | None
    error: str | None


def resolve_encoder(weights: str | os.PathLike[str] | nn.Module) -> nn.Module:
    """Return the encoder that ``weights`` names, or a copy of it, in evaluation mode, float32, on the CPU."""
    return copy.deepcopy(weights).cpu().float().eval() if isinstance(weights, nn.Module) else resolve_weights(weights)


def weights_digest(encoder: nn.Module) -> str:
    hasher = hashlib.blake2b(repr(getattr(encoder, "spec", encoder)).encode(), digest_size=16)
    for name, tensor in encoder.state_dict().items():
        hasher.update(name.encode())
        hasher.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return hasher.hexdigest()


def output_width(encoder: nn.Module, size: int) -> int:
    """Return how many features ``encoder`` gives for images of side ``size``.

    Raises
    ------
    ValueError
        If it takes no such images, or gives no rows of features.
    """
    try:
        with torch.no_grad():
            out = encoder(torch.zeros(1, 3, size, size))
    except Exception as error:  # modules have exceptions of their own for a size they do not take
        raise ValueError(f"weights: the encoder takes no images of {size} x {size} pixels: {error}") from error
    if not torch.is_tensor(out) or out.ndim != 2:
        raise ValueError(f"weights: the module must map images (n, 3, s, s) to features (n, d); got {type(out)}.")
    return out.shape[1]


def tile_length(size: int, device: torch.device, batch_size: int) -> int:
    """Return how many images of side ``size`` go through an encoder together, see `encode_in_tiles`."""
    return batch_size if device.type != "cpu" else max(2, _TILE_PIXELS // size**2)


def encode_in_tiles(encoder: nn.Module, spec: EncoderSpec, images: Tensor, n_tile: int, normalize: bool) -> Tensor:
    """Return outputs (n, d), float32, of ``encoder`` for uint8 images (n, 3, s, s), of unit norm where ``normalize``.

    Kernels are chosen by the shape of their input and round differently. In tiles of one length, the last one filled
    up, an image's features depend neither on the images beside it nor on how many these are.
    """

    def encode(tile: Tensor) -> Tensor:
        x = standardize_images(tile.float().div_(255), spec.mean, spec.std)
        features = encoder(x.contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(features, dim=1) if normalize else features

    return map_tiles(encode, images, n_tile)


def map_tiles(function: Callable[[Tensor], Tensor], images: Tensor, n_tile: int) -> Tensor:
    """Return ``function`` of images (n, 3, s, s), called with tiles of one length; the last one is filled up."""
    filled = F.pad(images, (0, 0, 0, 0, 0, 0, 0, -len(images) % n_tile))
    return torch.cat([function(tile) for tile in filled.split(n_tile)])[: len(images)]


def image_noise(image: np.ndarray, seed: int, width: int) -> np.ndarray:
    """Return standard normal numbers (width,), float32, which depend on ``image`` and ``seed`` alone."""
    digest = hashlib.blake2b(image.tobytes(), key=seed.to_bytes(8, "little"), digest_size=16).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "little"))
    return generator.standard_normal(width, dtype=np.float32)
