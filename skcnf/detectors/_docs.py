"""Parameters and attributes that detectors share, documented once and set into their docstrings."""

from __future__ import annotations

import textwrap
from typing import TypeVar

__all__ = ["with_shared_parameters"]

_THRESHOLD = """\
contamination : "auto" or float in (0, 0.5], default="auto"
    "auto" sets the threshold for ``false_alarm_rate`` by the scores of held-out rows. A float is the share of the
    training rows that ``predict`` flags; there are no p-values then until `recalibrate`.
false_alarm_rate : float in (0, 1), default=0.05
    With ``contamination="auto"``: the share of new inliers that may be flagged.
random_state : int, RandomState instance or None, default=None
    Draws the held-out rows and whatever else is random. Global generators are left alone."""

_CALIBRATION = f"""\
validation_fraction : float in (0, 0.5), default=0.1
    With ``contamination="auto"``: the share of the inliers that is held out to calibrate the threshold. With a float
    contamination the detector learns from every row.
{_THRESHOLD}"""

_DEVICE = """\
device : str or torch.device, default="auto"
    Where to train and score; "auto" is CUDA, else the CPU.
verbose : bool, default=False
    Show a progress bar where standard error is a terminal."""

_FLOW = f"""\
n_blocks : int, default=8
    The number of coupling blocks of the flow.
hidden_units : int, default=512
    Width of the hidden layer of each block's subnetwork.
affine_clamp : float, default=3.0
    Bounds the log-scale of a coupling, in nats.
permute_soft : bool, default=False
    Put random rotations between the blocks in place of random permutations.
standardize : bool, default=True
    Shift and scale each feature by mean and standard deviation before the flow. Scores stay log-densities in the
    space of X.
noise_std : float, default=0.01
    Standard deviation, in the space of X, of the noise that each batch gets anew.
max_epochs : "auto" or int, default="auto"
    A stage of training passes over the inliers so many times at most. "auto" is 20; but where weights are averaged and
    training stops by AUROC it is as many as make 100 steps, at least 6 and at most 20, after the warm-up
    (20 where `FlowRatioDetector` fine-tunes).
patience : int, default=3
    Training stops after so many epochs without an improvement; the weights of the best epoch are kept.
tol : float, default=0.0
    An improvement of the criterion must exceed this.
stopping : {{"auto", "auroc", "likelihood", "none"}}, default="auto"
    The criterion on held-out rows: the AUROC of inliers against auxiliary rows, or the likelihood of inliers. "auto"
    is the former where ``X_aux`` is given. "none" trains for ``max_epochs`` and keeps the last weights.
batch_size : int, default=256
    A step takes so many inliers, and as many auxiliary rows.
learning_rate : float, default=1e-3
    Adam's step size.
weight_decay : float, default=0.0
    Adam's L2 penalty.
weight_averaging : float in [0, 1), default=0.97
    A running mean of the weights is validated and kept in place of the weights, which jump about from step to step. It
    keeps this share of itself in a step; less in the first hundred steps. 0 turns it off.
score_precision : {{"float32", "float64"}}, default="float32"
    What scores are computed in; they are returned in float64. In float32 they come at up to twice the rate, and a row's
    score does not depend in a single bit on the rows beside it.
n_flows : int, default=1
    So many flows of different seeds are trained on the same rows. The score is the mean of their log-densities, the
    logarithm of their geometric mean: it ranks better than the log-density of their mixture, but several flows give no
    normalised density. ``sample`` draws from the mixture.
validation_fraction : float in (0, 0.5), default=0.1
    The share of the inliers that is held out: one half of it stops training, the other calibrates the threshold. With
    a float contamination the other half has no part.
{_THRESHOLD}
{_DEVICE}"""

_DECISIONS = """\
offset_ : float
    The threshold of ``predict``, in the unit of the score; with groups, that of all calibration rows together.
group_offsets_ : dict of str to float
    The threshold of each group of `recalibrate`; empty without groups.
calibration_scores_ : ndarray of shape (n_calibration,)
    The scores of the calibration rows, in ascending order. Missing where ``contamination`` is a float, until
    `recalibrate`.
calibration_groups_ : ndarray of int of shape (n_calibration,)
    With groups alone: the group of each of them, as a position in ``group_offsets_``.
false_alarm_rate_ : float
    The rate that the threshold stands for. Missing where ``contamination`` is a float, until `recalibrate`.
recalibrated_ : bool
    Whether the calibration rows came from `recalibrate`; otherwise ``fit`` held them out."""

_FITTED = f"""\
{_DECISIONS}
n_features_in_ : int
    The number of features.
feature_names_in_ : ndarray of shape (n_features,)
    The names of the features, where X has names."""

_FLOW_ATTRIBUTES = f"""\
flows_ : list of RealNVP
    The trained flows, in ``score_precision``, over standardised rows.
flow_ : RealNVP
    The first of them.
location_, scale_ : ndarray of shape (n_features,)
    What standardisation subtracts and divides by.
inlier_mean_ : ndarray of shape (n_features,)
    The mean of the inliers that were trained on.
history_ : list of dict
    A record for each epoch of the first flow, stage after stage: ``epoch``, ``loss``, ``val_nll`` (nats),
    ``val_auroc``, ``aux_active_fraction``.
best_epoch_ : int
    The epoch whose weights were kept, of the first flow. Where training has stages, each starts from the best weights
    of the one before, and this is the sum of their best epochs.
aux_active_fraction_ : float
    The share of auxiliary rows with a gradient in the last epoch; NaN where they have no part in training.
{_FITTED}"""

_IMAGES = """\
weights : str, path, torch.nn.Module or None, default=None
    The encoder that training starts from: a bundled or official name, a file of `skcnf.save_encoder`, or an encoder of
    `skcnf.moco.build_encoder`. None draws the weights of a new one.
arch : {"resnet10", "resnet18", "resnet34", "resnet50"}, default="resnet18"
    Without ``weights``: number and kind of the new encoder's residual blocks.
width : int, default=32
    Without ``weights``: channels of its first stage, a multiple of 8; 64 is the standard ResNet.
stem : {"imagenet", "strided", "small"}, default="strided"
    Without ``weights``: how it begins; see `skcnf.moco.EncoderSpec`. "small" is the papers' for 32 pixels, and four
    times as slow.
image_size : int or None, default=None
    Images are resized by their short side to this many pixels, with antialiasing, and centre-cropped. None takes that
    of ``weights``, or 32.
n_epochs : int, default=20
    Passes over the images.
batch_size : int, default=32
    A step takes so many images at most, in all their rotations.
learning_rate : float, default=0.05
    SGD's largest step size, with Nesterov's momentum 0.9; it rises during the first epoch (200 steps at most) and falls
    to 0 by a cosine.
weight_decay : float, default=5e-4
    SGD's L2 penalty.
checkpoints : path or None, default=None
    A folder that keeps the state of each training after every epoch. A fit of the same images, parameters and integer
    ``random_state`` that was cut goes on from there, to the same losses as an uncut one. The files stay: delete the
    folder when it is no longer of use.
precision : {"auto", "float32", "bfloat16"}, default="auto"
    Of the encoder; the losses are float32. "bfloat16" is up to twice as fast on a CPU with AVX-512 BF16 instructions
    (CPUs with AMX have it too), in training and in scoring. "auto" trains in bfloat16 on CUDA devices that have it, and
    is float32 otherwise."""

_IMAGE_ATTRIBUTES = f"""\
image_size_ : int
    The side of the images, in pixels.
history_ : list of dict
    A record for each epoch: ``epoch``, ``loss`` (nats) and its parts, ``learning_rate``, ``images_per_second``.
{_DECISIONS}"""

_WHITENING = """\
whitening_mean_ : ndarray of shape (n_features,) or None
    The mean of the auxiliary rows; None where rows are not whitened.
whitening_ : ndarray of shape (n_features, n_features) or None
    Whitened rows are ``(X - whitening_mean_) @ whitening_``, scaled to unit norm."""

_SECTIONS = {
    "calibration_parameters": _CALIBRATION,
    "device_parameters": _DEVICE,
    "flow_parameters": _FLOW,
    "image_parameters": _IMAGES,
    "image_attributes": _IMAGE_ATTRIBUTES,
    "whitening_attributes": _WHITENING,
    "fitted_attributes": _FITTED,
    "flow_attributes": _FLOW_ATTRIBUTES,
}
_T = TypeVar("_T", bound=type)


def with_shared_parameters(cls: _T) -> _T:
    """Replace ``{name}`` in the docstring of ``cls`` by the shared section of that name."""
    for name, text in _SECTIONS.items():
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("    {" + name + "}", textwrap.indent(text, "    "))
    return cls
