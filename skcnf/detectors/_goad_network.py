r"""GOAD for feature vectors: which random affine transformation made this row, and how surely can one tell.

Bergman and Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020. With random affine maps

.. math:: T_m(x) = W_m x + b_m \qquad (m = 1 \dots M) \tag{6}

a network :math:`f` is trained so that the features of each map gather about their centre :math:`c_m`, the mean of
:math:`f(T_m(x))`, and keep a margin :math:`s` from the others:

.. math:: L = \sum_{i, m} \max\Big(|f(T_m x_i) - c_m|^2 + s - \min_{m' \ne m} |f(T_m x_i) - c_{m'}|^2,\ 0\Big) \tag{3}

A row is normal as far as all of its transformed copies are near their own centres:

.. math:: \tilde P(m' | T_m x) = \frac{e^{-|f(T_m x) - c_{m'}|^2} + \epsilon}
          {\sum_k e^{-|f(T_m x) - c_k|^2} + M \epsilon}, \qquad
          \mathrm{score}(x) = \sum_m \log \tilde P(m | T_m x) \tag{4, 5}

The numbers are the paper's; its score has the opposite sign.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from skcnf._core.generators import seeded
from skcnf._core.modules import RebuiltModule
from skcnf._core.progress import check_finite, progress_bar

__all__ = ["GOADNetwork", "GOADTrainer", "log_probabilities", "triplet_center_loss"]

_log = logging.getLogger(__name__)


def triplet_center_loss(z: Tensor, margin: float) -> Tensor:
    """Equation 3, averaged over rows and maps, with the means of ``z`` as the centres; gradients pass through them.

    Parameters
    ----------
    z : Tensor of shape (n, M, h)
        Features of n rows under M maps, at least 2.
    margin : float
        s above.
    """
    centers = z.mean(0)
    closeness = _closeness(z, centers)
    own = closeness.diagonal(dim1=1, dim2=2)
    same = torch.eye(len(centers), dtype=torch.bool, device=z.device)
    nearest_other = closeness.masked_fill(same, -math.inf).amax(2)
    return torch.relu(nearest_other - own + margin).mean()


def log_probabilities(z: Tensor, centers: Tensor, epsilon: float) -> Tensor:
    """The logarithms (n, M) of the probabilities of equation 4 that each map is taken for itself.

    Parameters
    ----------
    z : Tensor of shape (n, M, h)
    centers : Tensor of shape (M, h)
    epsilon : float
        0 is equation 2, the plain softmax.
    """
    logits = _closeness(z, centers)
    if epsilon > 0:  # otherwise |z|^2 cancels, and far-off rows keep their digits without it
        squared_distance = z.square().sum(2, keepdim=True) - logits
        logits = torch.logaddexp(-squared_distance, z.new_tensor(math.log(epsilon)))
    return logits.diagonal(dim1=1, dim2=2) - logits.logsumexp(2)


def _closeness(z: Tensor, centers: Tensor) -> Tensor:
    """|z|^2 - |z - c|^2 (n, M, M), by row, map and centre."""
    return 2 * z @ centers.T - centers.square().sum(1)


class GOADNetwork(RebuiltModule):
    """The random maps, the network over them, and the centres of its features.

    As in the authors' code: linear layers without bias, leaky ReLUs of slope 0.2 between, Xavier's normal weights.

    Parameters
    ----------
    n_features, n_transforms, n_outputs : int
        d, M and r: each map takes a row (d,) to (r,).
    hidden_units : int
        h, the width of every layer.
    n_layers : int
        Linear layers.
    bias_std : float
        Standard deviation of the elements of the b_m.
    seed : int
        Draws maps and weights.
    """

    weight: Tensor
    bias: Tensor
    centers: Tensor

    def __init__(
        self,
        n_features: int,
        n_transforms: int,
        n_outputs: int,
        hidden_units: int,
        n_layers: int,
        bias_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = ("n_features", "n_transforms", "n_outputs", "hidden_units", "n_layers")
        sizes = (n_features, n_transforms, n_outputs, hidden_units, n_layers)
        self.arguments = {name: int(size) for name, size in zip(names, sizes, strict=True)}
        with seeded(seed):
            self.register_buffer("weight", torch.randn(n_transforms, n_outputs, n_features))
            self.register_buffer("bias", bias_std * torch.randn(n_transforms, n_outputs))
            layers: list[nn.Module] = [_linear(n_outputs, hidden_units)]
            for _ in range(n_layers - 1):
                layers += [nn.LeakyReLU(0.2), _linear(hidden_units, hidden_units)]
            self.trunk = nn.Sequential(*layers)
            self.head = nn.Sequential(nn.LeakyReLU(0.2), _linear(hidden_units, n_transforms, bias=True))
        self.register_buffer("centers", torch.zeros(n_transforms, hidden_units))

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, M, h) of rows ``x`` (n, d)."""
        n_transforms, n_outputs, n_features = self.weight.shape
        transformed = x @ self.weight.view(-1, n_features).T
        return self.trunk(transformed.view(-1, n_transforms, n_outputs) + self.bias)


def _linear(n_in: int, n_out: int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_normal_(layer.weight, gain=math.sqrt(2))
    return layer


@dataclass(frozen=True)
class GOADTrainer:
    """States how to train. The parameters are those of `GOADDetector`; ``seed`` draws the batches."""

    margin: float
    cross_entropy_weight: float
    n_epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    verbose: bool = False

    def train(self, network: GOADNetwork, X: Tensor) -> list[dict[str, float]]:
        """Train ``network`` in place on rows X (n, d) of its type and device; a record an epoch.

        Raises
        ------
        FloatingPointError
            If the loss stops being finite; names the epoch and the learning rate.
        """
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=(0.5, 0.999))  # the authors'
        generator = torch.Generator(X.device).manual_seed(self.seed)
        history = []
        epochs = range(1, self.n_epochs + 1)
        for epoch in progress_bar(epochs, desc="goad", unit="epoch", verbose=self.verbose):
            order = torch.randperm(len(X), generator=generator, device=X.device)
            # of nearly equal size: the centres of a short last batch would be mostly noise
            batches = order.tensor_split(math.ceil(len(X) / self.batch_size))
            losses = torch.stack([self._step(network, optimizer, X[rows]) * len(rows) for rows in batches])
            history.append({"epoch": epoch, "loss": (losses.sum() / len(X)).item()})
            check_finite("loss", history[-1]["loss"], epoch, self.learning_rate)
            _log.debug("epoch %d: %s", epoch, history[-1])
        return history

    def _step(self, network: GOADNetwork, optimizer: torch.optim.Optimizer, x: Tensor) -> Tensor:
        loss = self.loss(network, network(x))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def loss(self, network: GOADNetwork, z: Tensor) -> Tensor:
        """Equation 3 plus the weighted cross-entropy of a linear classifier of the map, for features (n, M, h)."""
        loss = triplet_center_loss(z, self.margin)
        if self.cross_entropy_weight == 0:
            return loss
        labels = torch.arange(z.shape[1], device=z.device).repeat(len(z))
        return loss + self.cross_entropy_weight * cross_entropy(network.head(z).flatten(0, 1), labels)
