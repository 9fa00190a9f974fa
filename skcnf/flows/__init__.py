"""Normalizing flows in torch: the modules, their objectives and the training loop."""

from skcnf.flows._data import FlowData, Stage, TrainingResult
from skcnf.flows._mixture import LogisticMixtureFlow
from skcnf.flows._objectives import (
    contrastive_loss,
    likelihood_loss,
    negative_log_likelihood,
    optimal_density,
    outlier_exposure_loss,
)
from skcnf.flows._realnvp import RealNVP
from skcnf.flows._training import FlowTask, FlowTrainer, train_together

__all__ = [
    "FlowData",
    "FlowTask",
    "FlowTrainer",
    "LogisticMixtureFlow",
    "RealNVP",
    "Stage",
    "TrainingResult",
    "contrastive_loss",
    "likelihood_loss",
    "negative_log_likelihood",
    "optimal_density",
    "outlier_exposure_loss",
    "train_together",
]
