"""The report of a scored collection: one HTML file that needs nothing else."""

from skcnf.reporting._histogram import histogram_svg
from skcnf.reporting._page import Decision, write_report
from skcnf.reporting._rows import COLUMNS, ScoredRow, read_scores

__all__ = ["COLUMNS", "Decision", "ScoredRow", "histogram_svg", "read_scores", "write_report"]
