"""The steps of a fitted model as torch modules, in float32: what an exporter can trace."""

from __future__ import annotations

import copy
from functools import singledispatch
from typing import Any, cast

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from torch import Tensor, nn

from skcnf.detectors import BaseFlowDetector, FlowRatioDetector, GaussianDetector, MSEDetector, MSERatioDetector
from skcnf.detectors._gaussian_density import Gaussian
from skcnf.flows import RealNVP
from skcnf.moco import MocoFeaturizer

__all__ = ["Decisions", "module_of", "steps_of"]


def steps_of(model: Any) -> list[Any]:
    """The fitted steps of a Pipeline, or the one estimator."""
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    return [step for step in steps if step not in (None, "passthrough")]


@singledispatch
def module_of(step: Any) -> nn.Module:
    """The module that computes what a fitted step does: features from images or features, or scores (n,).

    Raises
    ------
    TypeError
        If the step is of another kind.
    ValueError
        If the step draws noise or resizes twice.
    """
    raise TypeError(
        f"a {type(step).__name__} cannot be exported; a model is a MocoFeaturizer, StandardScaler, MinMaxScaler, "
        "MaxAbsScaler, RobustScaler, Normalizer and PCA in any order and number, and a flow detector, a Gaussian one, "
        "MSEDetector or MSERatioDetector."
    )


def _buffer(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64)).float()


class _Encoder(nn.Module):
    """uint8 images (n, 3, s, s) to features (n, d)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, encoder: nn.Module, mean: Any, std: Any, normalize: bool) -> None:
        super().__init__()
        self.encoder, self.normalize = encoder, normalize
        self.register_buffer("shift", 255 * _buffer(mean).view(3, 1, 1))
        self.register_buffer("scale", 255 * _buffer(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder((images.float() - self.shift) / self.scale)
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12) if self.normalize else features


@module_of.register
def _(step: MocoFeaturizer) -> nn.Module:
    if step.noise_std > 0:
        raise ValueError(f"noise_std={step.noise_std:g}: features with noise cannot be exported; use noise_std=0.")
    if step.low_res_size is not None:
        raise ValueError(f"low_res_size={step.low_res_size}: the exported model takes images of one size; use None.")
    encoder = copy.deepcopy(step.encoder_).cpu().float().eval()
    return _Encoder(encoder, step._spec.mean, step._spec.std, step.normalize)


class _Affine(nn.Module):
    """``(x - shift) * factor``, clipped where the step clips."""

    shift: Tensor
    factor: Tensor

    def __init__(self, shift: Any, factor: Any, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self.register_buffer("shift", _buffer(shift))
        self.register_buffer("factor", _buffer(factor))
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.shift) * self.factor
        return x if self.low is None else x.clamp(self.low, self.high)


def _or(values: Any, otherwise: float) -> Any:
    return otherwise if values is None else values


@module_of.register
def _(step: StandardScaler) -> nn.Module:
    return _Affine(_or(step.mean_ if step.with_mean else None, 0.0), 1 / np.asarray(_or(step.scale_, 1.0)))


@module_of.register
def _(step: RobustScaler) -> nn.Module:
    return _Affine(_or(step.center_, 0.0), 1 / np.asarray(_or(step.scale_, 1.0)))


@module_of.register
def _(step: MaxAbsScaler) -> nn.Module:
    return _Affine(0.0, 1 / step.scale_)


@module_of.register
def _(step: MinMaxScaler) -> nn.Module:
    low, high = step.feature_range if step.clip else (None, None)
    return _Affine(-step.min_ / step.scale_, step.scale_, low, high)


class _Normalizer(nn.Module):
    def __init__(self, norm: str) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        sizes = {
            "l1": lambda: x.abs().sum(1, keepdim=True),
            "l2": lambda: x.norm(dim=1, keepdim=True),
            "max": lambda: x.abs().amax(1, keepdim=True),
        }[self.norm]()
        return x / torch.where(sizes == 0, torch.ones_like(sizes), sizes)


@module_of.register
def _(step: Normalizer) -> nn.Module:
    return _Normalizer(step.norm)


class _Projection(nn.Module):
    mean: Tensor
    components: Tensor

    def __init__(self, mean: Any, components: Any) -> None:
        super().__init__()
        self.register_buffer("mean", _buffer(mean))
        self.register_buffer("components", _buffer(components).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.components


@module_of.register
def _(step: PCA) -> nn.Module:
    scale = np.sqrt(step.explained_variance_)[:, None] if step.whiten else 1.0
    return _Projection(step.mean_, step.components_ / scale)


class _Distance(nn.Module):
    """The squared distance to the auxiliary mean, where there is one, less that to the inliers' mean."""

    mean: Tensor
    aux_mean: Tensor | None

    def __init__(self, mean: Any, aux_mean: Any = None) -> None:
        super().__init__()
        self.register_buffer("mean", _buffer(mean))
        self.register_buffer("aux_mean", None if aux_mean is None else _buffer(aux_mean))

    def forward(self, x: Tensor) -> Tensor:
        score = -(x - self.mean).square().sum(1)
        return score if self.aux_mean is None else score + (x - self.aux_mean).square().sum(1)


@module_of.register
def _(step: MSEDetector) -> nn.Module:
    return _Distance(step.mean_, getattr(step, "aux_mean_", None))


class _Gaussian(nn.Module):
    """The log-density of a Gaussian."""

    def __init__(self, gaussian: Gaussian) -> None:
        super().__init__()
        self.whiten = _Projection(gaussian.mean, gaussian.precision_cholesky.T)
        self.constant = gaussian.log_constant

    def forward(self, x: Tensor) -> Tensor:
        return self.constant - self.whiten(x).square().sum(1) / 2


class _GaussianScore(nn.Module):
    """Whitening to unit norm where there is one; then a log-density, less an auxiliary one where there is one."""

    def __init__(self, detector: GaussianDetector) -> None:
        super().__init__()
        whitening, self.inliers = detector.whitening_, _Gaussian(detector.gaussian_)
        self.whiten = None if whitening is None else _Projection(detector.whitening_mean_, whitening.T)
        auxiliary = getattr(detector, "aux_gaussian_", None)
        self.auxiliary = None if auxiliary is None else _Gaussian(auxiliary)

    def forward(self, x: Tensor) -> Tensor:
        if self.whiten is not None:
            x = self.whiten(x)
            x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-30)
        score = self.inliers(x)
        return score if self.auxiliary is None else score - self.auxiliary(x)


@module_of.register
def _(step: GaussianDetector) -> nn.Module:
    return _GaussianScore(step)


def _copied(flow: RealNVP) -> RealNVP:
    return copy.deepcopy(flow).cpu().float().requires_grad_(True)


class _LogDensity(nn.Module):
    """The mean log-density of the flows, less that of an auxiliary flow where there is one."""

    location: Tensor
    scale: Tensor

    def __init__(self, detector: BaseFlowDetector, aux_flow: RealNVP | None) -> None:
        super().__init__()
        self.flows = nn.ModuleList(_copied(flow) for flow in detector.flows_)
        self.aux_flow = None if aux_flow is None else _copied(aux_flow)
        self.register_buffer("location", _buffer(detector.location_))
        self.register_buffer("scale", _buffer(detector.scale_))
        # standardisation cancels in a log-ratio
        self.constant = 0.0 if aux_flow is not None else float(-np.log(detector.scale_).sum())

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.location) / self.scale
        with torch.enable_grad():  # a flow then computes by operations that an exporter can follow, not in tiles
            densities = torch.stack([cast(RealNVP, flow).log_prob(x) for flow in self.flows])
            score = densities.mean(0) + self.constant
            return score if self.aux_flow is None else score - self.aux_flow.log_prob(x)


@module_of.register
def _(step: BaseFlowDetector) -> nn.Module:
    return _LogDensity(step, step.aux_flow_ if isinstance(step, FlowRatioDetector) else None)


class Decisions(nn.Module):
    """All steps, and from scores to p-values and verdicts.

    Parameters
    ----------
    model : fitted detector or Pipeline
        Calibrated, without groups.
    """

    calibration: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        steps = steps_of(model)
        self.steps = nn.Sequential(*(module_of(step) for step in steps))
        self.register_buffer("calibration", _buffer(steps[-1].calibration_scores_))
        self.threshold = float(steps[-1].offset_)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, p-values and verdicts (n,); verdicts are +1 or -1."""
        score = self.steps(x)
        n_below = (self.calibration <= score.unsqueeze(1)).sum(1)
        p_value = (1 + n_below).float() / (1 + len(self.calibration))
        verdict = torch.where(score >= self.threshold, 1, -1)  # what is no number is no inlier
        return score, p_value, verdict


# The ratio of squared distances is a squared distance with a second mean: one module serves both.
module_of.register(MSERatioDetector, module_of.dispatch(MSEDetector))
