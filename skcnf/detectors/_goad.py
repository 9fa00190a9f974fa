"""GOAD behind the contract of detectors; `skcnf.detectors._goad_network` has its network and its mathematics."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from skcnf._core.devices import resolve_device
from skcnf._core.progress import check_finite
from skcnf._core.rows import row_batches
from skcnf.detectors._base import BaseOutlierDetector, FitRows
from skcnf.detectors._flow import evaluate, feature_scale, for_scoring
from skcnf.detectors._goad_network import GOADNetwork, GOADTrainer, log_probabilities

__all__ = ["GOADDetector"]

_SCORING_NUMBERS = 2**22  # of the largest array of a batch: 32 MiB in float64


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

    def _fit_rows(self, rows: FitRows) -> None:
        device, X = resolve_device(self.device), rows.train
        n_features = X.shape[1]
        self.location_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        if self.standardize:
            self.location_, self.scale_ = X.mean(axis=0, dtype=np.float64), feature_scale(X)
        X = (X - self.location_) / self.scale_
        sizes = (self.n_transforms, self.n_outputs, self.hidden_units, self.n_layers)
        network = GOADNetwork(n_features, *sizes, self.bias_std, rows.seed).to(device)
        names = ("margin", "cross_entropy_weight", "n_epochs", "batch_size", "learning_rate", "verbose")
        trainer = GOADTrainer(**{name: getattr(self, name) for name in names}, seed=rows.seed)
        self.history_ = trainer.train(network, torch.as_tensor(X, dtype=torch.float32, device=device))
        self.network_ = for_scoring(network)
        self._set_centers(X)

    def _set_centers(self, rows: np.ndarray) -> None:
        network = self.network_
        with torch.no_grad():
            totals = (
                network(torch.as_tensor(rows[part]).to(network.weight)).sum(0)
                for part in row_batches(len(rows), self._scoring_rows())
            )
            network.centers.copy_(sum(totals) / len(rows))
        check_finite("size of the centres", network.centers.norm().item(), self.n_epochs, self.learning_rate)

    def _scoring_rows(self) -> int:
        widest = max(self.n_outputs, self.hidden_units, self.n_transforms)
        return max(1, _SCORING_NUMBERS // (self.n_transforms * widest))

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        location, scale = (torch.as_tensor(values).to(self.network_.weight) for values in (self.location_, self.scale_))

        def score(x: Tensor) -> Tensor:
            outputs = self.network_((x - location) / scale)
            return log_probabilities(outputs, self.network_.centers, self.epsilon).sum(1)

        return evaluate(score, X, self.network_, self._scoring_rows())
