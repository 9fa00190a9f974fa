"""Build ResNet encoders with a MoCo head from arguments.

Parameter names are torchvision's (``conv1``, ``layer1`` ... ``fc``), which are also those of the official MoCo
checkpoints. MoCo v1 has a linear head (He et al., CVPR 2020), v2 a two-layer one (Chen et al., arXiv:2003.04297).
The output of the *head* is the feature: anomaly detection with contrastive flows needs it (Schmier et al., section 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

__all__ = ["ARCHITECTURES", "LARGEST_IMAGE", "STEMS", "EncoderSpec", "before_head", "build_encoder", "with_new_head"]

ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
# stem: kernel size, stride, whether a max-pooling follows
STEMS = {"imagenet": (7, 2, True), "strided": (3, 2, False), "small": (3, 1, False)}
LARGEST_IMAGE = 4096  # px; a spec of a file may ask for more than memory holds
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
        for name, choices in (("arch", [*ARCHITECTURES]), ("stem", [*STEMS]), ("head", ["linear", "mlp"])):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {sorted(choices)}.")
        for name, most in (("width", None), ("out_features", None), ("image_size", LARGEST_IMAGE)):
            value = getattr(self, name)
            if type(value) is not int or value < 1 or (most is not None and value > most):
                allowed = "above 0" if most is None else f"from 1 to {most}"
                raise ValueError(f"{name}={value!r} is no whole number {allowed}.")
        if self.width % 8:
            # channels-last convolutions of fewer than 8 channels corrupt memory on the CPU (seen with torch 2.15)
            raise ValueError(f"width={self.width} is not a multiple of 8.")
        for name, least in (("mean", -math.inf), ("std", 0)):
            value = getattr(self, name)
            if len(value) != 3 or not all(type(x) in (int, float) and least < x < math.inf for x in value):
                raise ValueError(f"{name}={value!r} is no triple of numbers{' above 0' if least == 0 else ''}.")

    @property
    def trunk_features(self) -> int:
        """The width of what the head takes."""
        return 8 * self.width * ARCHITECTURES[self.arch][0].expansion


class _Encoder(ResNet):
    """torchvision's ResNet with a free width, a stem for small images and a MoCo head."""

    def __init__(self, spec: EncoderSpec) -> None:
        block, layers = ARCHITECTURES[spec.arch]
        super().__init__(block, list(layers), num_classes=spec.out_features)
        self.spec = spec
        kernel, stride, pool = STEMS[spec.stem]
        if not pool:
            self.maxpool = nn.Identity()
        if spec.width != 64 or not pool:
            self._rebuild(block, layers, spec.width, kernel, stride)
        self.fc = _head(spec, spec.trunk_features)

    def before_head(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)

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
    """Build an encoder with freshly drawn weights. Its attribute ``spec`` is ``spec``.

    Maps images (n, 3, h, w), standardised by ``spec.mean`` and ``spec.std``, to features (n, ``spec.out_features``),
    the raw output of the head (not normalised).
    """
    return _Encoder(spec)


def before_head(encoder: nn.Module, x: Tensor) -> Tensor:
    """What the head of an encoder of `build_encoder` takes, (n, ``spec.trunk_features``), for standardised images."""
    return cast(_Encoder, encoder).before_head(x)


def with_new_head(encoder: nn.Module, head: str, out_features: int) -> nn.Module:
    """A copy of an encoder of `build_encoder` whose head is another one, with freshly drawn weights."""
    copy = build_encoder(replace(cast(_Encoder, encoder).spec, head=head, out_features=out_features))
    trunk = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("fc.")}
    copy.load_state_dict(trunk, strict=False)
    return copy
