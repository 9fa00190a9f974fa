"""Momentum contrast: encoders and their weights, pretraining, and the featurizer."""

from skcnf.moco._backbones import Backbone, BackboneSpec, named_backbone, rebuild_backbone
from skcnf.moco._checkpoints import checkpoint_encoders
from skcnf.moco._contrast import MoCo, info_nce, uniformity
from skcnf.moco._distribution import World, process_group
from skcnf.moco._encoders import EncoderSpec, build_encoder
from skcnf.moco._encoding import ImageFeatures
from skcnf.moco._featurizer import MocoFeaturizer
from skcnf.moco._pretraining import pretrain
from skcnf.moco._recipe import PretrainConfig
from skcnf.moco._weights import (
    BUNDLED_ENCODERS,
    OFFICIAL_CHECKPOINTS,
    check_encoder_path,
    fetch_official,
    load_encoder,
    rebuild_encoder,
    resolve_weights,
    save_encoder,
)

__all__ = [
    "BUNDLED_ENCODERS",
    "OFFICIAL_CHECKPOINTS",
    "Backbone",
    "BackboneSpec",
    "EncoderSpec",
    "ImageFeatures",
    "MoCo",
    "MocoFeaturizer",
    "PretrainConfig",
    "World",
    "build_encoder",
    "check_encoder_path",
    "checkpoint_encoders",
    "fetch_official",
    "info_nce",
    "load_encoder",
    "named_backbone",
    "pretrain",
    "process_group",
    "rebuild_backbone",
    "rebuild_encoder",
    "resolve_weights",
    "save_encoder",
    "uniformity",
]
