"""GOAD behind the contract of detectors; `skcnf.detectors._goad_network` has its network and its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
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
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._flow import evaluate, feature_scale, for_scoring
from skcnf.detectors._goad_network import GOADNetwork, GOADTrainer, log_probabilities

__all__ = ["GOADDetector"]

_SCORING_NUMBERS = 2**22  # of the largest array of a batch: 32 MiB in float64


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
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
        Linear layers of the network. With 1 layer, ``standardize=True`` and ``bias_std=0`` all centres would be 0, and
        the network would learn nothing.
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
        A step takes so many rows at most.
    learning_rate : float, default=1e-3
        Adam's step size.
    standardize : bool, default=True
        Shift and scale each feature by its mean and standard deviation first.
    {calibration_parameters}
    {device_parameters}

    Attributes
    ----------
    network_ : GOADNetwork
        In float64, over standardised rows.
    location_, scale_ : ndarray of shape (n_features,)
        What standardisation subtracts and divides by.
    history_ : list of dict
        A record for each epoch: ``epoch``, ``loss``.
    {fitted_attributes}

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

    n_transforms: int = 256
    n_outputs: int = 32
    hidden_units: int = 32
    n_layers: int = 5
    bias_std: float = 0.0
    margin: float = 1.0
    cross_entropy_weight: float = 10.0
    epsilon: float = 0.0
    n_epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-3
    standardize: bool = True
    device: str | torch.device = "auto"
    verbose: bool = False

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
