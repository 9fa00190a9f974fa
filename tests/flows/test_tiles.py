"""A row's score in float32 is the same bits alone, among others, in any order and in any thread."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed

from skcnf.flows import RealNVP
from skcnf.flows._tiles import _MANY_TILES, _NARROW, _WIDE, Tiles

N_ROWS = 300


def _flow(d=128, blocks=8, hidden=512, soft=False):
    return RealNVP(d, blocks, hidden, permute_soft=soft).requires_grad_(False)


def _rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


FLOWS = {
    "default": _flow(),
    "small": _flow(4, 2, 16),
    "tiny": _flow(2, 1, 3),
    "odd": _flow(31, 3, 77),
    "soft": _flow(12, 3, 40, soft=True),
}
SCORES = {name: flow.log_prob(_rows(N_ROWS, flow.n_features)) for name, flow in FLOWS.items()}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FLOWS)), st.lists(st.integers(0, N_ROWS - 1), min_size=1, max_size=200))
def test_any_rows_in_any_order_have_the_same_bits(name, rows):
    flow, index = FLOWS[name], torch.tensor(rows)
    assert torch.equal(flow.log_prob(_rows(N_ROWS, flow.n_features)[index]), SCORES[name][index])


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("size", [1, _NARROW - 1, _NARROW + 1, _WIDE // 2 + 1, _WIDE, _WIDE + 1])
def test_parts_of_every_size_have_the_same_bits(name, size):
    flow = FLOWS[name]
    parts = [flow.log_prob(part) for part in _rows(N_ROWS, flow.n_features).split(size)]
    assert torch.equal(torch.cat(parts), SCORES[name])


@pytest.mark.parametrize("name", ["default", "tiny"])
def test_threads_that_share_a_flow_have_the_same_bits(name):
    flow = FLOWS[name]
    x = _rows(N_ROWS, flow.n_features)

    def scores(number):
        with torch.no_grad():
            return flow.log_prob(x[number:])

    results = Parallel(n_jobs=4, backend="threading")([delayed(scores)(number) for number in range(40)])
    for number, result in enumerate(results):
        assert torch.equal(result, SCORES[name][number:])


@pytest.mark.parametrize("n_rows", [_MANY_TILES * _WIDE, (_MANY_TILES + 1) * _WIDE + 5])
def test_tiles_shared_out_among_cores_have_the_same_bits(n_rows):
    flow, x = FLOWS["small"], _rows(n_rows, 4)
    expected = flow.nll(x)
    torch.set_num_threads(2)
    assert torch.equal(flow.nll(x), expected)
    assert torch.get_num_threads() == 2


def test_passes_in_inference_mode_leave_arrays_that_others_can_use():
    flow, x = _flow(4, 2, 16), _rows(10, 4)
    with torch.inference_mode():
        expected = flow.nll(x)
    assert torch.equal(flow.nll(x), expected)


def test_a_narrow_tile_that_rounds_otherwise_is_not_used(monkeypatch):
    nll = Tiles._nll

    def other(self, x, width):
        return nll(self, x, width) + (1e-9 if width == _NARROW else 0.0)

    monkeypatch.setattr(Tiles, "_nll", other)
    assert _flow()._tiles().narrow == _WIDE
    monkeypatch.setattr(Tiles, "_nll", nll)
    flow = _flow()
    if flow._tiles().narrow == _NARROW:  # as this processor has it
        flow._tiles().narrow = _WIDE
        assert torch.equal(flow.log_prob(_rows(1, 128)), SCORES["default"][:1])


@pytest.mark.parametrize("name", FLOWS)
def test_float32_is_near_float64(name):
    flow = FLOWS[name]
    x = _rows(N_ROWS, flow.n_features)
    precise = RealNVP.from_state(flow.arguments, {k: v.double() for k, v in flow.state_dict().items()})
    with torch.no_grad():
        expected = precise.log_prob(x.double())
    assert SCORES[name].dtype == expected.dtype == torch.float64
    np.testing.assert_allclose(SCORES[name], expected, rtol=0, atol=1e-4)
    z, log_det = flow.latent(x)
    torch.testing.assert_close(0.5 * z.double().square().sum(1) - log_det, flow.nll(x), rtol=0, atol=1e-4)
    torch.testing.assert_close(flow.inverse(z), x, rtol=1e-3, atol=1e-3)


def test_no_rows_have_no_scores():
    assert FLOWS["small"].log_prob(torch.empty(0, 4)).shape == (0,)
