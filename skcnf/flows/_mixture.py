"""The flow of one feature: coupling flows need two."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from skcnf.flows._objectives import LOG_2PI

__all__ = ["LogisticMixtureFlow"]


_BISECTIONS = 80  # from a bracket of some hundred units down to the last digit of a double


class LogisticMixtureFlow(nn.Module):
    r"""A normalizing flow of one feature: the distribution function of a mixture of logistics, made normal.

    With the standard normal's distribution function :math:`\Phi` and the logistic one :math:`\sigma`,

    .. math:: T(x) = \Phi^{-1}\Big(\sum_k w_k\, \sigma\big((x - \mu_k) / s_k\big)\Big)

    increases strictly, and comes near any increasing map as components are added. Its density is the mixture's.

    Parameters
    ----------
    n_components : int, default=16
        Number of logistics.
    spread : float, default=3.0
        At first the components are equal and cover [-spread, spread] evenly: nothing is drawn.

    References
    ----------
    Ho, Chen, Srinivas, Duan and Abbeel, "Flow++", ICML 2019, section 3.2 (there inside a coupling, and followed by a
    logit).

    Examples
    --------
    >>> import torch
    >>> from skcnf.flows import LogisticMixtureFlow
    >>> flow = LogisticMixtureFlow()
    >>> flow.log_prob(torch.tensor([[0.0], [30.0]])) > -10
    tensor([ True, False])
    """

    n_features = 1
    architecture = None  # it trains alone

    def __init__(self, n_components: int = 16, spread: float = 3.0) -> None:
        super().__init__()
        if n_components < 1:
            raise ValueError(f"n_components={n_components} must be at least 1.")
        if not spread > 0:
            raise ValueError(f"spread={spread} must be above 0.")
        middles = (torch.arange(n_components) + 0.5) / n_components
        self.means = nn.Parameter(spread * (2 * middles - 1))
        self.log_scales = nn.Parameter(torch.full((n_components,), math.log(2 * spread / n_components)))
        self.log_weights = nn.Parameter(torch.zeros(n_components))  # up to a constant

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent points (n, 1) and the logarithm of ``|dz/dx|`` (n,), in nats, of rows (n, 1)."""
        log_below, log_above, log_density = self._log_mixture(x)
        # The smaller of the two tails has all its digits; below the smallest number z stands still.
        tail = torch.minimum(log_below, log_above).exp().clamp(min=torch.finfo(x.dtype).tiny)
        z = torch.where(log_below < log_above, 1.0, -1.0) * torch.special.ndtri(tail)
        return z.unsqueeze(1), log_density + 0.5 * (z.square() + LOG_2PI)

    def _log_mixture(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms (n,) of the mixture's mass below x, of that above, and of its density."""
        if x.ndim != 2 or x.shape[1] != 1:
            raise ValueError(f"x has shape {tuple(x.shape)}; a LogisticMixtureFlow takes rows of one feature, (n, 1).")
        t = (x - self.means) * torch.exp(-self.log_scales)  # (n, n_components)
        log_weights = self.log_weights.log_softmax(0)
        below, above = logsigmoid(t), logsigmoid(-t)
        terms = (below, above, below + above - self.log_scales)
        log_below, log_above, log_density = (torch.logsumexp(log_weights + term, 1) for term in terms)
        return log_below, log_above, log_density

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Tensor:
        """The rows (n, 1) whose latent points are ``z`` (n, 1), by bisection: no gradient."""
        logit = torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)
        quantiles = self.means + self.log_scales.exp() * logit  # the mixture's lies between its components'
        low, high = quantiles.min(1, keepdim=True).values, quantiles.max(1, keepdim=True).values
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.latent(middle)[0] < z
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (n,), in nats, without the constant: what the objectives take.

        Straight from the density, hence finite and with a gradient however far out x lies.
        """
        return -self._log_mixture(x)[2] - 0.5 * LOG_2PI

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (n,) in nats, constant included."""
        return self._log_mixture(x)[2]

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int = 0) -> Tensor:
        """Draw rows (n_samples, 1) from the flow's density, in its type and on its device."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n_samples, 1, generator=generator, dtype=torch.float64)
        return self.inverse(z.to(self.means))
