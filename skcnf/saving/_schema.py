"""What can be saved: each class, with the kind of every fitted attribute. A new detector needs an entry here.

Attributes of a base class hold for its subclasses. Those in `_SOMETIMES` may be missing. Others are refused, in saving
and in loading, so that no file sets what a class does not know.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

from skcnf.detectors import (
    BaseFlowDetector,
    BaseImageDetector,
    BaseOutlierDetector,
    ContrastiveFlowDetector,
    CSIDetector,
    FlowDetector,
    FlowRatioDetector,
    GaussianDetector,
    GaussianRatioDetector,
    GOADDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    RotTransDetector,
)
from skcnf.detectors._goad_network import GOADNetwork
from skcnf.flows import RealNVP
from skcnf.moco._encoders import LARGEST_IMAGE
from skcnf.saving._encoders import Encoder
from skcnf.saving._kinds import (
    Array,
    Codes,
    Count,
    Flag,
    GroupNumbers,
    Kind,
    Modules,
    Names,
    Number,
    Optional,
    Records,
    Scores,
    Text,
    Triangle,
)
from skcnf.saving._modules import check_flow, check_goad_network

__all__ = ["CLASSES", "kinds_of", "may_be_missing"]

_FEATURES: dict[str, Kind] = {"n_features_in_": Count(symbol="d"), "feature_names_in_": Names()}
_STANDARDISATION: dict[str, Kind] = {"location_": Array("d"), "scale_": Array("d", positive=True)}
_ATTRIBUTES: dict[type[BaseEstimator], dict[str, Kind]] = {
    BaseOutlierDetector: _FEATURES
    | {
        "offset_": Number(),
        "group_offsets_": GroupNumbers(),
        "calibration_scores_": Scores(),
        "calibration_groups_": Codes(),
        "false_alarm_rate_": Number(0),
        "recalibrated_": Flag(),
    },
    BaseFlowDetector: _STANDARDISATION
    | {
        "flows_": Modules(RealNVP, check_flow),
        "inlier_mean_": Array("d"),
        "history_": Records(),
        "best_epoch_": Count(0),
        "aux_active_fraction_": Number(allow_nan=True),
    },
    BaseImageDetector: {"image_size_": Count(maximum=LARGEST_IMAGE), "history_": Records()},
    ContrastiveFlowDetector: {"nll_clamp_": Number()},
    CSIDetector: {
        "encoder_": Encoder("trunk", "projection"),
        "shift_coef_": Array(4, "trunk"),
        "shift_intercept_": Array(4),
        "directions_": Array(4, "rows", "projection"),
        "contrast_weights_": Array(4, positive=True),
        "shift_weights_": Array(4, positive=True),
        "view_seed_": Count(0),
    },
    FlowDetector: {},
    FlowRatioDetector: {"aux_flow_": Optional(Modules(RealNVP, check_flow, alone=True))},
    GaussianDetector: {"location_": Array("d"), "mean_": Array("d"), "precision_cholesky_": Triangle("d")}
    | {"whitening_mean_": Optional(Array("d")), "whitening_": Optional(Triangle("d"))},
    GaussianRatioDetector: {
        "aux_mean_": Optional(Array("d")),
        "aux_precision_cholesky_": Optional(Triangle("d")),
    },
    GOADDetector: _STANDARDISATION
    | {"network_": Modules(GOADNetwork, check_goad_network, alone=True), "history_": Records()},
    MSEDetector: {"mean_": Array("d")},
    MSERatioDetector: {"aux_mean_": Optional(Array("d"))},
    OutlierExposureDetector: {"margin_": Number()},
    RotTransDetector: {"encoder_": Encoder("trunk", "logits", n_outputs=10)},
    StandardScaler: _FEATURES
    | {
        "n_samples_seen_": Count(0),
        "mean_": Optional(Array("d")),
        "var_": Optional(Array("d")),
        "scale_": Optional(Array("d", positive=True)),
    },
    MinMaxScaler: _FEATURES
    | {name: Array("d") for name in ("scale_", "min_", "data_min_", "data_max_", "data_range_")}
    | {"n_samples_seen_": Count(0)},
    RobustScaler: _FEATURES | {"center_": Optional(Array("d")), "scale_": Optional(Array("d", positive=True))},
    MaxAbsScaler: _FEATURES
    | {"max_abs_": Array("d"), "scale_": Array("d", positive=True), "n_samples_seen_": Count(0)},
    Normalizer: _FEATURES,
    PCA: _FEATURES
    | {
        "n_components_": Count(symbol="components"),
        "components_": Array("components", "d"),
        "mean_": Array("d"),
        "noise_variance_": Number(0),
        "n_samples_": Count(),
        "_fit_svd_solver": Text(("arpack", "auto", "covariance_eigh", "full", "randomized")),
    }
    | {name: Array("components") for name in ("explained_variance_", "explained_variance_ratio_", "singular_values_")},
}
_SOMETIMES = {
    "_fit_svd_solver",
    "calibration_groups_",
    "calibration_scores_",
    "false_alarm_rate_",
    "feature_names_in_",
    "inlier_mean_",  # 0.1 did not keep it
    "n_features_in_",  # scikit-learn's Normalizer learns it from some containers alone
}
CLASSES: dict[str, Any] = {cls.__name__: cls for cls in _ATTRIBUTES if not cls.__name__.startswith("Base")}


def kinds_of(cls: type[BaseEstimator]) -> dict[str, Kind]:
    """The kind of each fitted attribute, in the order in which they are checked."""
    kinds: dict[str, Kind] = {}
    for base in reversed(cls.__mro__):
        kinds |= _ATTRIBUTES.get(base, {})
    return kinds


def may_be_missing(name: str) -> bool:
    """Whether a fitted estimator may lack an attribute."""
    return name in _SOMETIMES
