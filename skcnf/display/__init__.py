"""Figures, as scikit-learn's displays: computed by ``from_...``, drawn by ``plot``, kept as ``ax_`` and ``figure_``.

No display touches pyplot: the figures are `matplotlib.figure.Figure`, to save with ``display.figure_.savefig(path)``.
"""

from skcnf.display._ablation import AblationDisplay
from skcnf.display._auroc import BenchmarkDisplay
from skcnf.display._confusion import ConfusionDisplay
from skcnf.display._correlation import FeatureCorrelationDisplay
from skcnf.display._difference import DifferenceDensityDisplay
from skcnf.display._histogram import ScoreHistogramDisplay, ScorePanelsDisplay
from skcnf.display._ranked import RankedImagesDisplay

__all__ = [
    "AblationDisplay",
    "BenchmarkDisplay",
    "ConfusionDisplay",
    "DifferenceDensityDisplay",
    "FeatureCorrelationDisplay",
    "RankedImagesDisplay",
    "ScoreHistogramDisplay",
    "ScorePanelsDisplay",
]
