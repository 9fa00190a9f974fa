"""Parameters that detectors share, documented once and set into their docstrings."""

from __future__ import annotations

import textwrap
from typing import TypeVar

__all__ = ["with_shared_parameters"]

_COMMON = """\
validation_fraction : float in (0, 0.5), default=0.1
    Share of the inliers that is held out: half of it stops training, the other half calibrates the threshold.
contamination : "auto" or float in (0, 0.5], default="auto"
    A float is the share of training rows that ``predict`` flags. "auto" sets the threshold for
    ``false_alarm_rate`` on held-out rows.
false_alarm_rate : float in (0, 1), default=0.05
    With ``contamination="auto"``: the share of new inliers that may be flagged.
device : str or torch.device, default="auto"
    Where to train and score; "auto" is CUDA, else the CPU.
random_state : int, RandomState instance or None, default=None
    Draws the held-out rows, weights, batches and noise. Global generators are left alone.
verbose : bool, default=False
    A progress bar where standard error is a terminal."""

_FLOW = """\
n_blocks : int, default=8
    Coupling blocks of the flow.
hidden_units : int, default=512
    Width of the hidden layer of each block's subnetwork.
affine_clamp : float, default=3.0
    Bounds the log-scale of a coupling, in nats.
permute_soft : bool, default=False
    Random rotations between blocks in place of random permutations.
standardize : bool, default=True
    Shift and scale each feature by mean and standard deviation before the flow. Scores stay log-densities in the
    space of X.
noise_std : float, default=0.01
    Standard deviation, in the space of X, of the noise added to every batch anew.
max_epochs : int, default=20
    Passes over the inliers at most.
patience : int, default=3
    Epochs without an improvement after which training stops; the best epoch's weights are kept.
tol : float, default=0.0
    What counts as an improvement of the criterion.
stopping : {"auto", "auroc", "likelihood"}, default="auto"
    What to watch on held-out rows: the AUROC of inliers against auxiliary rows, or the likelihood of inliers. "auto"
    is the former where ``X_aux`` is given.
batch_size : int, default=256
    Inliers, and as many auxiliary rows, of a step.
learning_rate : float, default=1e-3
    Of Adam.
weight_decay : float, default=0.0
    Of Adam.
n_flows : int, default=1
    Flows of different seeds, trained on the same rows; the score is the mean of their log-densities."""

_FLOW_ATTRIBUTES = """\
flows_ : list of RealNVP
    In float64, over standardised rows.
flow_ : RealNVP
    The first of them.
location_, scale_ : ndarray of shape (n_features,)
    Of the standardisation.
history_ : list of dict
    Of the first flow, a record an epoch: ``epoch``, ``loss``, ``val_nll`` (nats), ``val_auroc``,
    ``aux_active_fraction``.
n_epochs_ : int
    The epoch whose weights were kept, of the first flow.
aux_active_fraction_ : float
    Share of auxiliary rows with a gradient in the last epoch; NaN where they have no part in it.
offset_ : float
    The threshold of ``predict``, in nats.
n_features_in_ : int"""

_SECTIONS = {"common_parameters": _COMMON, "flow_parameters": _FLOW, "flow_attributes": _FLOW_ATTRIBUTES}
_T = TypeVar("_T", bound=type)


def with_shared_parameters(cls: _T) -> _T:
    """Replace ``{name}`` in the docstring of ``cls`` by the shared section of that name."""
    for name, text in _SECTIONS.items():
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("    {" + name + "}", textwrap.indent(text, "    "))
    return cls
