"""Fits in threads: equal seeds give equal bits, and nobody's generators move."""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    GOADDetector,
    MocoFeaturizer,
    OutlierExposureDetector,
)
from skcnf._core.generators import seeded
from skcnf.moco import EncoderSpec, build_encoder

_SMALL = {"n_blocks": 2, "hidden_units": 8, "max_epochs": 2, "batch_size": 64}
_RNG = np.random.default_rng(0)
X, X_AUX = _RNG.normal(size=(500, 5)), _RNG.normal(scale=3, size=(500, 5))
IMAGES = _RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def _detector(cls, **parameters):
    def result(seed):
        return cls(**parameters, random_state=seed).fit(X, X_aux=X_AUX).score_samples(X)

    return result


def _encoder(seed):
    with seeded(seed):
        encoder = build_encoder(EncoderSpec("resnet10", 8, "small", "mlp", image_size=32))
    return torch.cat([parameter.detach().flatten() for parameter in encoder.parameters()]).numpy()


def _features(seed):
    return MocoFeaturizer(noise_std=0.1, random_state=seed).fit_transform(IMAGES)


RESULTS = {
    "flow": _detector(FlowDetector, **_SMALL, n_flows=2),
    "soft": _detector(FlowDetector, **_SMALL, permute_soft=True),
    "contrastive": _detector(ContrastiveFlowDetector, **_SMALL),
    "exposure": _detector(OutlierExposureDetector, **_SMALL),
    "ratio": _detector(FlowRatioDetector, **_SMALL),
    "goad": _detector(GOADDetector, n_transforms=8),
    "encoder": _encoder,
    "features": _features,
}


def _state():
    return (*np.random.get_state()[1:3], torch.get_rng_state().numpy())


@pytest.mark.parametrize("name", RESULTS)
def test_threads_give_the_bits_of_a_serial_run_and_leave_the_generators_alone(name):
    before = _state()
    serial = [RESULTS[name](seed) for seed in range(3)]
    tasks = [delayed(RESULTS[name])(seed) for seed in (0, 1, 2) * 4]
    for number, result in enumerate(Parallel(n_jobs=4, backend="threading")(tasks)):
        np.testing.assert_array_equal(result, serial[number % 3])
    assert len({result.tobytes() for result in serial}) == 3
    for was, is_now in zip(before, _state(), strict=True):
        np.testing.assert_array_equal(was, is_now)


def _draw():
    return torch.rand(3), torch.empty(2).normal_(), torch.randperm(5), torch.nn.Linear(2, 2).weight.detach()


@pytest.mark.moves_generators
def test_a_seeded_scope_draws_what_follows_manual_seed_and_in_its_own_thread_alone():
    torch.manual_seed(5)
    expected = _draw()
    torch.manual_seed(6)
    with seeded(5):
        (elsewhere,) = Parallel(n_jobs=2, backend="threading")([delayed(torch.rand)(3)])
        drawn = _draw()
    for a, b in zip(expected, drawn, strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(6)
    assert torch.equal(elsewhere, torch.rand(3))  # another thread's draws are the caller's own affair
