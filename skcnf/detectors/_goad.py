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
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from skcnf._runtime import resolve_device, row_batches, seeded
from skcnf.detectors._base import BaseOutlierDetector
from skcnf.detectors._flow import evaluate, feature_scale, for_scoring

__all__ = ["GOADDetector", "GOADNetwork", "GOADTrainer", "log_probabilities", "triplet_center_loss"]

_log = logging.getLogger(__name__)
_SCORING_NUMBERS = 2**22  # of the largest array of a batch: 32 MiB in float64


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


class GOADNetwork(nn.Module):
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

    @classmethod
    def from_state(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> GOADNetwork:
        """The network of these ``arguments`` with the maps, weights and centres of ``state``, a ``state_dict``."""
        network = cls(**arguments).to(state["weight"].dtype)
        network.load_state_dict(state)
        return network

    def __reduce__(self) -> tuple[Any, ...]:  # what is unpickled is on the CPU
        state = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        return GOADNetwork.from_state, (self.arguments, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> GOADNetwork:
        return GOADNetwork.from_state(self.arguments, self.state_dict()).to(self.weight.device)


def _linear(n_in: int, n_out: int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_normal_(layer.weight, gain=math.sqrt(2))
    return layer


@dataclass(frozen=True)
class GOADTrainer:
    """How to train; the parameters are those of `GOADDetector`, and ``seed`` draws the batches."""

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
        hidden = None if self.verbose else True  # None: hidden unless standard error is a terminal
        history = []
        for epoch in tqdm(range(1, self.n_epochs + 1), desc="goad", unit="epoch", leave=False, disable=hidden):
            order = torch.randperm(len(X), generator=generator, device=X.device)
            # of nearly equal size: the centres of a short last batch would be mostly noise
            batches = order.tensor_split(math.ceil(len(X) / self.batch_size))
            total = sum(self._step(network, optimizer, X[rows]) * len(rows) for rows in batches)
            history.append({"epoch": epoch, "loss": (total / len(X)).item()})
            _check_finite("loss", history[-1]["loss"], epoch, self.learning_rate)
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


def _check_finite(name: str, value: float, epoch: int, learning_rate: float) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the {name} is {value} in epoch {epoch} at learning_rate={learning_rate}; "
            "lower the learning rate, or look for extreme values in X."
        )


class GOADDetector(BaseOutlierDetector):
    """GOAD: score by how surely a network tells which random affine map made each transformed copy of a row.

    Bergman and Hoshen's form for feature vectors: a network learns, by the triplet centre loss and cross-entropy, to
    tell M random affine maps apart; ``score_samples`` is the sum over the maps of the log-probability of the right one,
    in nats, at most 0. ``X_aux`` is not used.

    Parameters
    ----------
    n_transforms : int, default=256
        M, the number of random maps; at least 2. Time and memory grow with its square.
    n_outputs : int, default=32
        Numbers that each map makes of a row.
    hidden_units : int, default=32
        Width of the network's layers, and of its features.
    n_layers : int, default=5
        Linear layers of the network. With 1, ``standardize`` and without b_m all centres would be 0: it learns nothing.
    bias_std : float, default=0.0
        Standard deviation of the elements of the maps' b_m; the paper's are 0. Those of W_m are standard normal.
    margin : float, default=1.0
        By how much the own centre should be nearer than any other, in squared distances; the paper's s.
    cross_entropy_weight : float, default=10.0
        Weight of the cross-entropy beside the triplet centre loss; 0 is equation 3 alone.
    epsilon : float, default=0.0
        Regularises the probabilities (equation 4); 0 is equation 2. It acts on rows whose squared distance to the
        centres exceeds -log(epsilon): where inliers themselves are further, it levels all scores.
    n_epochs : int, default=1
        Passes over the rows. More make it a worse detector on some thousand rows; the paper has 25 on 10^5.
    batch_size : int, default=64
        Rows of a step at most.
    learning_rate : float, default=1e-3
        Of Adam.
    standardize : bool, default=True
        Shift and scale each feature by its mean and standard deviation first.
    validation_fraction : float in (0, 0.5), default=0.1
        Share of rows that is held out to calibrate the threshold under "auto".
    contamination : "auto" or float in (0, 0.5], default="auto"
        A float is the share of training rows that ``predict`` flags, and no row is held out. "auto" sets the threshold
        for ``false_alarm_rate`` on held-out rows.
    false_alarm_rate : float in (0, 1), default=0.05
        With ``contamination="auto"``: the share of new inliers that may be flagged.
    device : str or torch.device, default="auto"
        Where to train and score; "auto" is CUDA, else the CPU.
    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows, maps, weights and batches. Global generators are left alone.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Attributes
    ----------
    network_ : GOADNetwork
        In float64, over standardised rows.
    location_, scale_ : ndarray of shape (n_features,)
        Of the standardisation.
    history_ : list of dict
        A record an epoch: ``epoch``, ``loss``.
    offset_ : float
        The threshold of ``predict``, in nats.
    n_features_in_ : int

    Notes
    -----
    From the paper's sections 5.2 and 6: normal W_m, no b_m, learning rate, margin, cross-entropy beside the triplet
    loss; 256 maps to 32 numbers and one epoch (small data), 32 hidden units (KDD). It states neither epsilon nor the
    weight of the cross-entropy: 0 and 10 are the authors' code's (there the triplet loss has weight 0.1; Adam sees
    ratios alone), and so are layers, batches and standardisation. The code's centres are averages over the batches of
    the last epoch; these are means over all training rows under the final network, as the paper has it.

    References
    ----------
    Bergman and Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020, equations 2 to 6;
    the authors' code: github.com/lironber/GOAD.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import GOADDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> detector = GOADDetector(n_transforms=32, random_state=0).fit(X)
    >>> detector.predict([[0.5] * 4, [9.0] * 4])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseOutlierDetector._parameter_constraints,
        "n_transforms": [Interval(Integral, 2, None, closed="left")],
        "n_outputs": [Interval(Integral, 1, None, closed="left")],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "bias_std": [Interval(Real, 0, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="left")],
        "cross_entropy_weight": [Interval(Real, 0, None, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "standardize": ["boolean"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        n_transforms: int = 256,
        n_outputs: int = 32,
        hidden_units: int = 32,
        n_layers: int = 5,
        bias_std: float = 0.0,
        margin: float = 1.0,
        cross_entropy_weight: float = 10.0,
        epsilon: float = 0.0,
        n_epochs: int = 1,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        standardize: bool = True,
        validation_fraction: float = 0.1,
        contamination: str | float = "auto",
        false_alarm_rate: float = 0.05,
        device: str | torch.device = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_transforms = n_transforms
        self.n_outputs = n_outputs
        self.hidden_units = hidden_units
        self.n_layers = n_layers
        self.bias_std = bias_std
        self.margin = margin
        self.cross_entropy_weight = cross_entropy_weight
        self.epsilon = epsilon
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.standardize = standardize
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _fit_scorer(self, X: np.ndarray, X_aux: np.ndarray | None, random_state: np.random.RandomState) -> None:
        device = resolve_device(self.device)
        seed = int(random_state.randint(2**31 - 1))
        if self.contamination != "auto":
            self._fit_network(X, device, seed)
            self._set_offset(self._score_samples(X), None)
            return
        train, held_out = self._split_rows(len(X), random_state)
        self._fit_network(X[train], device, seed)
        self._set_offset(None, self._score_samples(X[held_out]))

    def _fit_network(self, X: np.ndarray, device: torch.device, seed: int) -> None:
        """Set ``location_``, ``scale_``, ``network_`` and ``history_``."""
        n_features = X.shape[1]
        self.location_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        if self.standardize:
            self.location_, self.scale_ = X.mean(axis=0, dtype=np.float64), feature_scale(X)
        rows = (X - self.location_) / self.scale_
        sizes = (self.n_transforms, self.n_outputs, self.hidden_units, self.n_layers)
        network = GOADNetwork(n_features, *sizes, self.bias_std, seed).to(device)
        names = ("margin", "cross_entropy_weight", "n_epochs", "batch_size", "learning_rate", "verbose")
        trainer = GOADTrainer(**{name: getattr(self, name) for name in names}, seed=seed)
        self.history_ = trainer.train(network, torch.as_tensor(rows, dtype=torch.float32, device=device))
        self.network_ = for_scoring(network)
        self._set_centers(rows)

    def _set_centers(self, rows: np.ndarray) -> None:
        network = self.network_
        with torch.no_grad():
            totals = (
                network(torch.as_tensor(rows[part]).to(network.weight)).sum(0)
                for part in row_batches(len(rows), self._scoring_rows())
            )
            network.centers.copy_(sum(totals) / len(rows))
        _check_finite("size of the centres", network.centers.norm().item(), self.n_epochs, self.learning_rate)

    def _scoring_rows(self) -> int:
        widest = max(self.n_outputs, self.hidden_units, self.n_transforms)
        return max(1, _SCORING_NUMBERS // (self.n_transforms * widest))

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        location, scale = (torch.as_tensor(values).to(self.network_.weight) for values in (self.location_, self.scale_))

        def score(x: Tensor) -> Tensor:
            outputs = self.network_((x - location) / scale)
            return log_probabilities(outputs, self.network_.centers, self.epsilon).sum(1)

        return evaluate(score, X, self.network_, self._scoring_rows())
