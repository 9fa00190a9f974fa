"""The tables of the paper: what each needs, the detectors by name, the runner, and the figures that it quotes."""

from skcnf.paper._catalogue import ABLATIONS, TABLES, TUNING_CLASSES, main_layout
from skcnf.paper._data import BenchmarkData
from skcnf.paper._layouts import Layout, Study, lay_out
from skcnf.paper._lineup import MAIN_DETECTORS, PAPER_SETTINGS, detector_names, is_deterministic, make_detectors
from skcnf.paper._runner import run_layout

__all__ = [
    "ABLATIONS",
    "MAIN_DETECTORS",
    "PAPER_SETTINGS",
    "TABLES",
    "TUNING_CLASSES",
    "BenchmarkData",
    "Layout",
    "Study",
    "detector_names",
    "is_deterministic",
    "lay_out",
    "main_layout",
    "make_detectors",
    "run_layout",
]
