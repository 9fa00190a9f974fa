"""The tables of the paper: what each needs, the detectors by name, the runner, and the figures that it quotes."""

from skcnf.paper._layouts import ABLATIONS, TABLES, TUNING_CLASSES, Layout, Study, lay_out
from skcnf.paper._lineup import MAIN_DETECTORS, PAPER_SETTINGS, detector_names, is_deterministic, make_detectors
from skcnf.paper._report import ReportTable
from skcnf.paper._runner import BenchmarkData, run_layout

__all__ = [
    "ABLATIONS",
    "MAIN_DETECTORS",
    "PAPER_SETTINGS",
    "TABLES",
    "TUNING_CLASSES",
    "BenchmarkData",
    "Layout",
    "ReportTable",
    "Study",
    "detector_names",
    "is_deterministic",
    "lay_out",
    "make_detectors",
    "run_layout",
]
