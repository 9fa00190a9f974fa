"""Evaluation of detectors: splits, metrics, protocols, statistics and tables."""

from skcnf.evaluation._metrics import METRICS, aupr, auroc, auxiliary_scorer, evaluate_scores, fpr95, outlier_scorer
from skcnf.evaluation._protocols import class_vs_class, dataset_vs_dataset, one_vs_rest
from skcnf.evaluation._report import ReportTable, align
from skcnf.evaluation._results import COLUMNS, ResultLog
from skcnf.evaluation._splits import InlierKFold
from skcnf.evaluation._statistics import compare_detectors, format_comparison
from skcnf.evaluation._tables import add_means, auroc_table, epochs_kept, format_table, mean_and_spread

__all__ = [
    "COLUMNS",
    "METRICS",
    "InlierKFold",
    "ReportTable",
    "ResultLog",
    "add_means",
    "align",
    "aupr",
    "auroc",
    "auroc_table",
    "auxiliary_scorer",
    "class_vs_class",
    "compare_detectors",
    "dataset_vs_dataset",
    "epochs_kept",
    "evaluate_scores",
    "format_comparison",
    "format_table",
    "fpr95",
    "mean_and_spread",
    "one_vs_rest",
    "outlier_scorer",
]
