"""Evaluation: splits, metrics, protocols, tables."""

from skcnf.evaluation._metrics import METRICS, aupr, auroc, auxiliary_scorer, evaluate_scores, fpr95, outlier_scorer
from skcnf.evaluation._protocols import class_vs_class, dataset_vs_dataset, one_vs_rest
from skcnf.evaluation._results import COLUMNS, ResultLog
from skcnf.evaluation._splits import InlierKFold
from skcnf.evaluation._statistics import compare_detectors, format_comparison
from skcnf.evaluation._tables import align, auroc_table, format_table

__all__ = [
    "COLUMNS",
    "METRICS",
    "InlierKFold",
    "ResultLog",
    "align",
    "aupr",
    "auroc",
    "auroc_table",
    "auxiliary_scorer",
    "class_vs_class",
    "compare_detectors",
    "dataset_vs_dataset",
    "evaluate_scores",
    "format_comparison",
    "format_table",
    "fpr95",
    "one_vs_rest",
    "outlier_scorer",
]
