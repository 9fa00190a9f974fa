"""ResNet encoders with a MoCo head: built from arguments, saved and loaded without pickle.

Parameter names are torchvision's (``conv1``, ``layer1`` ... ``fc``), which are also those of the official MoCo
checkpoints. MoCo v1 has a linear head (He et al., CVPR 2020), v2 a two-layer one (Chen et al., arXiv:2003.04297).
The output of the *head* is the feature: anomaly detection with contrastive flows needs it (Schmier et al., section 5).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from skcnf._runtime import seeded

__all__ = ["EncoderSpec", "build_encoder", "load_encoder", "load_moco_checkpoint", "save_encoder"]

_ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
# stem: kernel size, stride, whether a max-pooling follows
_STEMS = {"imagenet": (7, 2, True), "strided": (3, 2, False), "small": (3, 1, False)}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderSpec:
    """What it takes to rebuild an encoder: its shape and the images it expects.

    Parameters
    ----------
    arch : {"resnet10", "resnet18", "resnet34", "resnet50"}
        Number and kind of the residual blocks.
    width : int
        Channels of the first stage, a multiple of 8; 64 is the standard ResNet.
    stem : {"imagenet", "strided", "small"}
        7 x 7 stride 2 with max-pooling; 3 x 3 stride 2; 3 x 3 stride 1. The latter two are for images of about 32 px.
    head : {"linear", "mlp"}
        MoCo v1's or MoCo v2's.
    out_features : int
        Width of the head's output.
    image_size : int
        Side of the square images, in pixels, that the encoder was trained on.
    mean, std : tuple of 3 floats
        Channel statistics that images in [0, 1] are standardised with.
    """

    arch: str = "resnet50"
    width: int = 64
    stem: str = "imagenet"
    head: str = "linear"
    out_features: int = 128
    image_size: int = 224
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD

    def __post_init__(self) -> None:
        for name, allowed in (("arch", _ARCHITECTURES), ("stem", _STEMS), ("head", ("linear", "mlp"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {sorted(allowed)}.")
        if self.width < 8 or self.width % 8:
            # channels-last convolutions of fewer than 8 channels corrupt memory on the CPU (seen with torch 2.15)
            raise ValueError(f"width={self.width} is not a multiple of 8.")


class _Encoder(ResNet):
    """torchvision's ResNet with a free width, a stem for small images and a MoCo head."""

    def __init__(self, spec: EncoderSpec) -> None:
        block, layers = _ARCHITECTURES[spec.arch]
        super().__init__(block, list(layers), num_classes=spec.out_features)
        self.spec = spec
        kernel, stride, pool = _STEMS[spec.stem]
        if not pool:
            self.maxpool = nn.Identity()
        if spec.width != 64 or not pool:
            self._rebuild(block, layers, spec.width, kernel, stride)
        self.fc = _head(spec, 8 * spec.width * block.expansion)

    def _rebuild(self, block: Any, layers: tuple[int, ...], width: int, kernel: int, stride: int) -> None:
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, n_blocks in enumerate(layers):
            layer = self._make_layer(block, width << stage, n_blocks, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _head(spec: EncoderSpec, in_features: int) -> nn.Module:
    last = nn.Linear(in_features, spec.out_features)
    if spec.head == "linear":
        return last
    return nn.Sequential(nn.Linear(in_features, in_features), nn.ReLU(), last)


def build_encoder(spec: EncoderSpec) -> nn.Module:
    """An encoder of freshly drawn weights; its attribute ``spec`` is ``spec``.

    Maps images (n, 3, h, w), standardised by ``spec.mean`` and ``spec.std``, to features (n, ``spec.out_features``),
    the raw output of the head (not normalised).
    """
    return _Encoder(spec)


def save_encoder(encoder: nn.Module, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
    """Write an encoder as safetensors, its spec in the header; the file appears whole or not at all."""
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in encoder.state_dict().items()
    }
    metadata = {"format": "skcnf-encoder-1", "spec": json.dumps(asdict(encoder.spec))}
    write_atomically(path, safetensors_bytes(tensors, metadata))


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` beside ``path`` and rename it into place."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_encoder(path: str | os.PathLike[str]) -> nn.Module:
    """Rebuild the encoder that `save_encoder` wrote, in evaluation mode and float32.

    Raises
    ------
    ValueError
        If the file is no encoder of this package (naming the file). Nothing in the file is ever executed.
    """
    metadata, state = read_safetensors(path)
    if metadata.get("format") != "skcnf-encoder-1":
        raise ValueError(f"'{path}' is a safetensors file, but not an encoder saved by skcnf.save_encoder.")
    try:
        spec = json.loads(metadata["spec"])
        spec = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
        spec = EncoderSpec(**spec)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' has a header that describes no encoder: {error}") from error
    return _with_state(spec, state, path)


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file; a ValueError that names the file where it is none."""
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"'{path}' is not a readable safetensors file: {error}") from error


def load_moco_checkpoint(path: str | os.PathLike[str]) -> nn.Module:
    """The query encoder of an official MoCo v1 or v2 checkpoint file (``state_dict`` with ``encoder_q`` keys).

    The version is told from the keys of the head, the architecture from the residual blocks.

    Raises
    ------
    ValueError
        If the file is not such a checkpoint (naming the file). It is read with ``weights_only=True``: code in it
        does not run.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises a different class for every way a file can be broken
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"'{path}' is not a readable MoCo checkpoint, and nothing in it was executed: {reason}"
        ) from error
    state = _query_encoder_state(checkpoint, path)
    return _with_state(_spec_of_state(state, path), state, path)


def _query_encoder_state(checkpoint: object, path: object) -> dict[str, Tensor]:
    nested = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    state = {}
    for key, value in nested.items() if isinstance(nested, Mapping) else ():
        name = str(key).removeprefix("module.")
        if name.startswith("encoder_q.") and isinstance(value, Tensor):
            state[name.removeprefix("encoder_q.")] = value
    if not state:
        raise ValueError(
            f"'{path}' holds no 'encoder_q' weights: it is not a MoCo v1 or v2 checkpoint (a linear-evaluation "
            "checkpoint lacks the head this method needs)."
        )
    return state


def _spec_of_state(state: Mapping[str, Tensor], path: object) -> EncoderSpec:
    counts = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    block = Bottleneck if any(".conv3." in name for name in state) else BasicBlock
    arch = next((name for name, value in _ARCHITECTURES.items() if value == (block, counts)), None)
    head = "mlp" if "fc.2.weight" in state else "linear"
    last = state.get("fc.2.weight" if head == "mlp" else "fc.weight")
    first = state.get("conv1.weight")
    if arch is None or last is None or first is None:
        raise ValueError(f"'{path}': residual blocks {counts} with {len(state)} tensors are no known MoCo ResNet.")
    stem = "imagenet" if first.shape[-1] == 7 else "small"
    size = 224 if stem == "imagenet" else 32
    return EncoderSpec(arch, first.shape[0], stem, head, last.shape[0], image_size=size)


def _with_state(spec: EncoderSpec, state: Mapping[str, Tensor], path: object) -> nn.Module:
    with seeded(0):  # weights that are overwritten at once must not move the caller's generator
        encoder = build_encoder(spec)
    try:
        encoder.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise ValueError(f"'{path}' does not fit its own architecture: {error}") from error
    return encoder.float().eval()
