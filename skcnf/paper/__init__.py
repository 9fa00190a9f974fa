"""The tables of the paper: what each needs, the detectors by name, the runner, and the figures that it quotes."""

from skcnf.paper._ablations import ABLATIONS
from skcnf.paper._catalogue import TABLES, TUNING_CLASSES, main_layout
from skcnf.paper._claims import CLAIMS, Claim, check_claims, claims_to_csv, claims_to_text
from skcnf.paper._data import BenchmarkData
from skcnf.paper._layouts import Layout, Study, ablation_lines, lay_out
from skcnf.paper._lineup import (
    IMAGE_DETECTORS,
    MAIN_DETECTORS,
    PAPER_SETTINGS,
    detector_names,
    is_deterministic,
    make_detectors,
)
from skcnf.paper._runner import run_layout

__all__ = [
    "ABLATIONS",
    "CLAIMS",
    "IMAGE_DETECTORS",
    "MAIN_DETECTORS",
    "PAPER_SETTINGS",
    "TABLES",
    "TUNING_CLASSES",
    "BenchmarkData",
    "Claim",
    "Layout",
    "Study",
    "ablation_lines",
    "check_claims",
    "claims_to_csv",
    "claims_to_text",
    "detector_names",
    "is_deterministic",
    "lay_out",
    "main_layout",
    "make_detectors",
    "run_layout",
]
