"""FrEIA's blocks are the definition: the kernels are held against them in float64, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skcnf.flows import RealNVP, contrastive_loss, negative_log_likelihood
from skcnf.flows._gradients import FlatFlows


def _flow(d, blocks, soft, seed):
    flow = RealNVP(d, blocks, 16, permute_soft=soft, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # away from the initial near-identity
        for parameter in flow.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.3)
    return flow


def _x(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _freia(flow, x):
    log_det = x.new_zeros(len(x))
    for block in flow.blocks:
        (x,), block_log_det = block((x,))
        log_det = log_det + block_log_det
    return x, log_det


architectures = st.tuples(st.integers(2, 9), st.integers(1, 4), st.booleans(), st.integers(0, 99))


@settings(max_examples=30, deadline=None)
@given(architectures, st.integers(1, 20))
def test_both_directions_are_those_of_freias_blocks(arguments, n_rows):
    flow = _flow(*arguments)
    x = _x(n_rows, arguments[0])
    with torch.no_grad():
        z, log_det = flow.latent(x)
        freias_z, freias_log_det = _freia(flow, x)
        torch.testing.assert_close(z, freias_z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(log_det, freias_log_det, rtol=1e-9, atol=1e-9)
        freias_x = freias_z
        for block in reversed(flow.blocks):
            (freias_x,), _ = block((freias_x,), rev=True)
        torch.testing.assert_close(flow.inverse(z), freias_x, rtol=0, atol=1e-4 if arguments[2] else 1e-9)


def _gradients(flow, x, loss):
    weights = [
        weight
        for block in flow.blocks
        for linear in (block.subnet[0], block.subnet[2])
        for weight in (linear.weight, linear.bias)
    ]
    weights += [weight for block in flow.blocks for weight in (block.global_scale, block.global_offset)]
    loss(negative_log_likelihood(*_freia(flow, x))).backward()
    return weights, [weight.grad.clone() for weight in weights]


@settings(max_examples=60, deadline=None)
@given(architectures, st.integers(1, 3), st.sampled_from([2, 7, 64, 100, 257]), st.floats(0, 1))
def test_values_and_gradients_are_those_of_freias_blocks(arguments, n_flows, n_rows, active):
    """With any share of rows that have no gradient, from none to all."""
    d, blocks, soft, seed = arguments
    flows = [_flow(d, blocks, soft, seed + number) for number in range(n_flows)]
    x = _x(n_flows, n_rows, d, seed=seed)
    with torch.no_grad():
        clamps = [flow.nll(rows).quantile(active).item() + 1e-6 for flow, rows in zip(flows, x, strict=True)]

    def loss(nll, clamp):
        return contrastive_loss(nll[: n_rows // 3], nll[n_rows // 3 :], clamp) if n_rows > 2 else nll.square().mean()

    expected = [_gradients(flow, x[i], lambda nll, i=i: loss(nll, clamps[i])) for i, flow in enumerate(flows)]
    flat = FlatFlows(flows)
    nll = flat.nll(x)
    sum(loss(own, clamp) for own, clamp in zip(nll, clamps, strict=True)).backward()
    for i, (flow, (weights, gradients)) in enumerate(zip(flows, expected, strict=True)):
        torch.testing.assert_close(nll[i].detach(), negative_log_likelihood(*_freia(flow, x[i])).detach())
        for weight, gradient in zip(weights, gradients, strict=True):
            offset = weight.storage_offset() - flat.values.storage_offset() - i * flat.values.shape[1]
            ours = flat.values.grad[i, offset : offset + weight.numel()].view_as(weight)
            torch.testing.assert_close(ours, gradient, rtol=1e-8, atol=1e-8 * gradients[0].abs().max().item())


def test_arrays_are_used_again_for_batches_of_other_sizes():
    flat, again = (FlatFlows([_flow(6, 3, False, 0)]) for _ in range(2))
    for n_rows in (100, 37, 128, 100, 1):
        x = _x(1, n_rows, 6, seed=n_rows)
        fresh = FlatFlows([_flow(6, 3, False, 0)])
        for flows in (flat, again, fresh):
            flows.nll(x).square().sum().backward()
        assert torch.equal(flat.values.grad, fresh.values.grad)


def test_an_optimizers_steps_happen_to_the_flows():
    flow, x = _flow(4, 2, False, 0), _x(50, 4)
    flat = FlatFlows([flow])
    with torch.no_grad():
        before = flow.nll(x).mean()
    flat.nll(x[None]).mean().backward()
    torch.optim.SGD([flat.values], lr=1e-4).step()
    with torch.no_grad():
        assert flow.nll(x).mean() < before
        assert torch.equal(flow.nll(x), flat.nll(x[None])[0])


def test_a_value_that_was_written_over_has_no_gradient():
    flat, x = FlatFlows([_flow(4, 2, False, 0)]), _x(1, 5, 4)
    first = flat.nll(x)
    flat.nll(x)
    with pytest.raises(RuntimeError, match="called again before the backward pass"):
        first.sum().backward()
