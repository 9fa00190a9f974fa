"""Encoders of other libraries by name: ``timm:NAME``, ``torchvision:NAME`` and ``hf:NAME``.

Each gives its features before the classifier, and takes images by the mean, standard deviation and size of its own
configuration. Weights are read without running code: as safetensors, or by torch with ``weights_only=True``.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from skcnf._core.generators import seeded

__all__ = ["Backbone", "BackboneSpec", "is_backbone_name", "named_backbone", "rebuild_backbone"]

_EXTRAS = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
_MAX_CONFIG = 2**16
Numbers3 = tuple[float, float, float]


@dataclass(frozen=True)
class BackboneSpec:
    """What it takes to rebuild a backbone: its name and the images it expects.

    Parameters
    ----------
    name : str
        ``timm:NAME``, ``torchvision:NAME`` or ``hf:NAME``.
    image_size : int
        Side of the square images, in pixels.
    mean, std : tuple of 3 floats
        Channel statistics that images in [0, 1] are standardised with.
    config : str
        Hugging Face's configuration of the model as JSON; empty for the others, whose name says all.
    """

    name: str
    image_size: int
    mean: Numbers3
    std: Numbers3
    config: str = ""

    def __post_init__(self) -> None:
        if not is_backbone_name(self.name):
            raise ValueError(f"name={self.name!r} is not timm:NAME, torchvision:NAME or hf:NAME.")
        if type(self.image_size) is not int or not 0 < self.image_size < 2**14:
            raise ValueError(f"image_size={self.image_size!r} is no whole number of pixels.")
        for numbers in (self.mean, self.std):
            if len(numbers) != 3 or not all(type(number) in (int, float) for number in numbers):
                raise ValueError(f"mean and std must be three numbers each; got {numbers!r}.")
        if not isinstance(self.config, str) or len(self.config) > _MAX_CONFIG:
            raise ValueError("config is no text, or longer than any model's.")


class Backbone(nn.Module):
    """A model of another library that maps images (n, 3, s, s) to features (n, d); its ``spec`` says which."""

    def __init__(self, spec: BackboneSpec, model: nn.Module) -> None:
        super().__init__()
        self.spec, self.model = spec, model

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, d) of images standardised by ``spec.mean`` and ``spec.std``."""
        return _hf_features(self.model, images) if self.spec.name.startswith("hf:") else self.model(images)


def is_backbone_name(name: str) -> bool:
    """Whether ``name`` is of the form ``timm:NAME``, ``torchvision:NAME`` or ``hf:NAME``."""
    library, _, rest = str(name).partition(":")
    return library in _EXTRAS and bool(rest)


def named_backbone(name: str, *, pretrained: bool = True) -> Backbone:
    """A model of timm, torchvision or Hugging Face, without its classifier, in evaluation mode.

    Parameters
    ----------
    name : str
        ``"timm:NAME"`` as in ``timm.list_models()``; ``"torchvision:NAME"``, a classifier in
        ``torchvision.models.list_models()``, with its default weights; or ``"hf:NAME"``, a repository of the Hugging
        Face Hub or a folder written by ``save_pretrained``. The features of ``hf:`` are those of the image tower of
        models like CLIP, else the class token of the last layer, else the mean over its positions.
    pretrained : bool, default=True
        Load the published weights, from the library's cache or the network. False draws weights and asks no network,
        save for Hugging Face's configuration.

    Returns
    -------
    Backbone
        An argument for ``MocoFeaturizer(weights=...)``, which also takes the name itself.

    Raises
    ------
    ImportError
        If the library is not installed; the message says which extra brings it.
    ValueError
        If it has no such model, or one without a classifier to take off.
    OSError
        If the weights cannot be had.

    Examples
    --------
    >>> from skcnf.moco import named_backbone
    >>> backbone = named_backbone("torchvision:resnet18", pretrained=False)
    >>> backbone.spec.image_size, backbone(torch.zeros(2, 3, 64, 64)).shape
    (224, torch.Size([2, 512]))
    """
    if not is_backbone_name(name):
        raise ValueError(f"name={name!r} is not timm:NAME, torchvision:NAME or hf:NAME.")
    library, _, rest = name.partition(":")
    module = _import(library)
    try:
        with seeded(0):
            spec, model = _LIBRARIES[library](module, rest, pretrained)
    except (ValueError, OSError):
        raise
    except Exception as error:  # each library has classes of its own for what it does not know or cannot fetch
        raise ValueError(f"'{name}' cannot be had: {error}") from error
    return Backbone(spec, model.float()).eval()


def rebuild_backbone(spec: Mapping[str, Any], state: Mapping[str, Tensor]) -> Backbone:
    """The backbone of a spec, as `dataclasses.asdict` gives it, with the weights of ``state``; no network is asked.

    Raises
    ------
    ImportError
        If its library is not installed.
    ValueError
        If the spec describes no backbone, or the state does not fit it. Nothing is built before that is known.
    """
    try:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()
        }
        parsed = BackboneSpec(**fields)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its header describes no backbone: {error}") from error
    library = parsed.name.partition(":")[0]
    module = _import(library)
    try:
        with torch.device("meta"), _at_most(len(state)):  # no memory and no end of layers: a header may ask for any
            outline = Backbone(parsed, _bare_model(module, parsed))
        wanted = {name: (tensor.shape, tensor.dtype.is_floating_point) for name, tensor in outline.state_dict().items()}
        if wanted != {name: (tensor.shape, tensor.dtype.is_floating_point) for name, tensor in state.items()}:
            raise ValueError("the tensors are not those of its name")
        with seeded(0):
            backbone = Backbone(parsed, _bare_model(module, parsed))
        backbone.load_state_dict(dict(state))
    except Exception as error:
        raise ValueError(f"it does not fit its own architecture, {parsed.name}: {error}") from error
    return backbone.float().eval()


@contextmanager
def _at_most(n_tensors: int) -> Iterator[None]:
    """Stop a constructor in this thread that makes more parameters than ``n_tensors``."""
    thread, counts = threading.get_ident(), [0]

    def count(*_: Any) -> None:
        counts[0] += threading.get_ident() == thread
        if counts[0] > 2 * n_tensors + 16:  # a constructor may set a parameter twice
            raise ValueError("it has more layers than tensors")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _import(library: str) -> Any:
    try:
        return importlib.import_module(_EXTRAS[library])
    except ImportError as error:
        raise ImportError(
            f"weights '{library}:...' need {_EXTRAS[library]}, which is not installed: pip install skcnf[{library}]"
        ) from error


def _bare_model(module: Any, spec: BackboneSpec) -> nn.Module:
    """The model of a spec with drawn weights."""
    library, _, name = spec.name.partition(":")
    if library == "timm":
        _check_timm_name(name)
        return module.create_model(name, pretrained=False, num_classes=0)
    if library == "torchvision":
        return _without_classifier(module.models.get_model(name, weights=None))
    config = json.loads(spec.config)
    _check_asks_nobody(config)
    return module.AutoModel.from_config(module.AutoConfig.for_model(**config), trust_remote_code=False)


def _check_timm_name(name: str) -> None:
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):  # hf-hub:... would be looked up again whenever a model is loaded
        raise ValueError(f"'timm:{name}' is no name of timm's own models; see timm.list_models().")


def _check_asks_nobody(config: Any) -> None:
    """Refuse a configuration of Hugging Face that builds a part of the model by a name, which may be on the network."""
    parts = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in parts:
        by_name = key == "backbone" and value is not None
        by_name |= key in ("use_timm_backbone", "use_pretrained_backbone") and bool(value)
        by_name |= key == "model_type" and str(value).startswith("timm")
        if by_name:
            raise ValueError(f"its configuration takes a part of the model from elsewhere: {key} = {value!r}")
        _check_asks_nobody(value)


def _timm(timm: Any, name: str, pretrained: bool) -> tuple[BackboneSpec, nn.Module]:
    _check_timm_name(name)
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except RuntimeError as error:
        raise ValueError(f"timm has no model {name!r}, or none with weights: {error}") from error
    config = timm.data.resolve_model_data_config(model)
    _, height, width = config["input_size"]
    if height != width:
        raise ValueError(f"'timm:{name}' takes images of {width} x {height} pixels; only square ones are cut here.")
    return BackboneSpec(f"timm:{name}", height, _three(config["mean"]), _three(config["std"])), model


def _torchvision(torchvision: Any, name: str, pretrained: bool) -> tuple[BackboneSpec, nn.Module]:
    models = torchvision.models
    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classifier of images {name!r}; see torchvision.models.list_models().")
    weights = models.get_model_weights(name).DEFAULT
    if pretrained:
        weights.get_state_dict(progress=True, check_hash=True, weights_only=True)  # first: nothing in it may run
    model = models.get_model(name, weights=weights if pretrained else None)
    preset = weights.transforms()
    spec = BackboneSpec(f"torchvision:{name}", preset.crop_size[0], _three(preset.mean), _three(preset.std))
    return spec, _without_classifier(model)


def _without_classifier(model: nn.Module) -> nn.Module:
    """Put the identity in place of the last layer of a torchvision model."""
    for name in ("fc", "classifier", "heads", "head"):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Sequential) and len(layer) and isinstance(layer[-1], nn.Linear):
            layer[-1] = nn.Identity()
            return model
        if isinstance(layer, nn.Linear) and not hasattr(model, "transform_input"):  # which treats images in its own way
            setattr(model, name, nn.Identity())
            return model
    raise ValueError(f"{type(model).__name__} has no last layer that can be taken off.")


def _hugging_face(transformers: Any, name: str, pretrained: bool) -> tuple[BackboneSpec, nn.Module]:
    config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    _check_asks_nobody(config.to_dict())
    processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    size = (getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None) or (
        processor.size
    )
    side = size.get("height") or size.get("shortest_edge")
    if pretrained:
        model, told = transformers.AutoModel.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        missing = [key for key in told["missing_keys"] if "pooler" not in key]  # which is not used here
        if missing:
            raise ValueError(f"'hf:{name}' has no weights for {missing[:3]}.")
        # out of the mapped file: products round by the place of their arguments in memory, and saved models match bits
        model.load_state_dict({key: tensor.clone() for key, tensor in model.state_dict().items()}, assign=True)
    else:
        model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    text = json.dumps(config.to_dict(), default=str)
    return BackboneSpec(f"hf:{name}", int(side), _three(processor.image_mean), _three(processor.image_std), text), model


def _hf_features(model: Any, images: Tensor) -> Tensor:
    if hasattr(model, "get_image_features"):
        features = model.get_image_features(pixel_values=images)
        return features if torch.is_tensor(features) else features.pooler_output
    hidden = model(pixel_values=images).last_hidden_state
    if hidden.ndim == 4:
        return hidden.mean((2, 3))
    has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())
    return hidden[:, 0] if has_class_token else hidden.mean(1)


def _three(numbers: Any) -> Numbers3:
    first, second, third = map(float, numbers)
    return first, second, third


_LIBRARIES: dict[str, Callable[[Any, str, bool], tuple[BackboneSpec, nn.Module]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "hf": _hugging_face,
}
