"""Evaluation: splits, metrics, protocols, tables."""

from skcnf.evaluation._metrics import METRICS, aupr, auroc, evaluate_scores, fpr95, outlier_scorer
from skcnf.evaluation._protocols import one_vs_rest
from skcnf.evaluation._splits import InlierKFold
from skcnf.evaluation._tables import auroc_table, format_table

__all__ = [
    "METRICS",
    "InlierKFold",
    "aupr",
    "auroc",
    "auroc_table",
    "evaluate_scores",
    "format_table",
    "fpr95",
    "one_vs_rest",
    "outlier_scorer",
]
