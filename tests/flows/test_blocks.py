import numpy as np
import pytest
import torch
from FrEIA.modules import AllInOneBlock
from torch import nn

from skcnf.flows import RealNVP


def _freia_blocks(d, hidden, soft, seed):
    def subnet(n_in, n_out):
        return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_out))

    torch.manual_seed(seed)
    np.random.seed(seed)
    return [
        AllInOneBlock([(d,)], subnet_constructor=subnet, affine_clamping=2.5, permute_soft=soft).double()
        for _ in range(3)
    ]


@pytest.mark.moves_generators
@pytest.mark.parametrize(("d", "soft"), [(2, False), (7, False), (128, False), (6, True)])
def test_blocks_are_those_that_freias_constructor_draws(d, soft):
    expected = _freia_blocks(d, 16, soft, seed=3)
    drawn = RealNVP(d, 3, 16, 2.5, permute_soft=soft, seed=3).double().blocks
    x = torch.randn(5, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for theirs, ours in zip(expected, drawn, strict=True):
        states = theirs.state_dict(), ours.state_dict()
        assert list(states[0]) == list(states[1])
        assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))
        for reverse in (False, True):
            (y,), log_det = theirs((x,), rev=reverse)
            (y_own,), log_det_own = ours((x,), rev=reverse)
            assert torch.equal(y, y_own)
            assert torch.equal(log_det, log_det_own)


@pytest.mark.moves_generators
def test_blocks_have_every_attribute_that_freia_sets():
    # FrEIA's methods may read any of them
    theirs = vars(AllInOneBlock([(4,)], subnet_constructor=lambda n_in, n_out: nn.Linear(n_in, n_out)))
    ours = vars(RealNVP(4, 1, 8).blocks[0])
    assert set(theirs) - set(ours) == {"global_scale_activation"}  # a method here
