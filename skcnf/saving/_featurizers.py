"""Featurizers as nodes: an encoder of this package lies in the file, another module is known by its digest alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from skcnf.moco import BUNDLED_ENCODERS, OFFICIAL_CHECKPOINTS, EncoderSpec, MocoFeaturizer, rebuild_encoder
from skcnf.moco._backbones import BackboneSpec, is_backbone_name
from skcnf.moco._encoding import resolve_encoder, weights_digest
from skcnf.saving._kinds import Store, require

__all__ = ["encoder_name", "featurizer_node", "featurizer_of"]


def featurizer_node(featurizer: MocoFeaturizer, prefix: str, store: Store) -> dict[str, Any]:
    """What JSON holds of the fitted state; the encoder's tensors go to ``store``."""
    node: dict[str, Any] = {
        "weights": _name(featurizer.weights),
        "n_features_out": int(featurizer.n_features_out_),
        "seed": int(featurizer._seed),
        "digest": featurizer._digest,
        "spec": None,
    }
    spec = getattr(featurizer.encoder_, "spec", None)
    if isinstance(spec, (EncoderSpec, BackboneSpec)):
        node["spec"] = asdict(spec)
        for name, tensor in featurizer.encoder_.state_dict().items():
            store.put(f"{prefix}encoder/{name}", _compact(tensor))
    return node


def _name(weights: Any) -> str | None:
    return (
        weights
        if isinstance(weights, str)
        and (weights in BUNDLED_ENCODERS or weights in OFFICIAL_CHECKPOINTS or is_backbone_name(weights))
        else None
    )


def _compact(tensor: Tensor) -> Tensor:
    """In half the bytes where that loses nothing, as for encoders that were stored so."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def featurizer_of(
    node: dict[str, Any], params: dict[str, Any], prefix: str, store: Store, encoder: nn.Module | None
) -> MocoFeaturizer:
    """The featurizer of a node; ``encoder`` is the module that is not in the file.

    Raises
    ------
    ValueError
        If the node is malformed, or the encoder is missing or another one.
    """
    names = {"class", "params", "weights", "n_features_out", "seed", "digest", "spec"}
    require(set(node) == names, f"MocoFeaturizer has the fields {sorted(node)}")
    weights, width, seed = node["weights"], node["n_features_out"], node["seed"]
    require(weights is None or _name(weights) is not None, f"{weights!r} is the name of no encoder")
    require(type(width) is int and 0 < width < 2**24, "n_features_out is no whole number above 0")
    require(type(seed) is int and 0 <= seed < 2**31, "the seed of the noise is no whole number")
    module = _foreign(encoder, node["digest"]) if node["spec"] is None else _own(node["spec"], prefix, store, encoder)
    require(weights_digest(module) == node["digest"], "the encoder is not the one of the digest")
    spec = getattr(module, "spec", None)
    require(
        not isinstance(spec, EncoderSpec) or spec.out_features == width, f"the encoder does not give {width} features"
    )
    featurizer = MocoFeaturizer(module if weights is None else weights, **params)
    featurizer._validate_params()
    featurizer._set_encoder(module, width, seed)
    return featurizer


def _own(spec: Any, prefix: str, store: Store, encoder: nn.Module | None) -> nn.Module:
    require(encoder is None, "it holds its own encoder, so that encoder= has no use; leave it out")
    return rebuild_encoder(spec, store.take_all(f"{prefix}encoder"))


def _foreign(encoder: nn.Module | None, digest: Any) -> nn.Module:
    if encoder is None:
        raise ValueError("its encoder is a module that is not in the file; give it as encoder=.")
    module = resolve_encoder(encoder)
    found = weights_digest(module)
    require(found == digest, f"encoder has weights of digest {found}, but the model was fitted with {digest}")
    return module


def encoder_name(node: dict[str, Any]) -> str:
    """What to call the encoder of a node in a summary."""
    spec = node["spec"]
    kind = (
        f"module of digest {node['digest']}, not in the file"
        if spec is None
        else f"{spec.get('arch') or spec.get('name')}, {spec['image_size']} px"
    )
    kind += "" if node["params"].get("precision", "float32") == "float32" else f", {node['params']['precision']}"
    return kind if node["weights"] is None else f"{node['weights']} ({kind})"
