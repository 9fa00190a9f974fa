import numpy as np
import pytest

from skcnf import MSEDetector
from skcnf.display import BenchmarkDisplay, ScoreHistogramDisplay
from tests.test_evaluation import _results


def test_the_benchmark_figure_shows_every_detector_best_on_top():
    display = BenchmarkDisplay.from_results(_results())
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["B", "A"]
    assert [text.get_text() for text in display.ax_.texts] == ["78.5", "81.0"]


def test_histograms_show_both_kinds_and_the_threshold(rows):
    X, _, X_test, y_test = rows
    detector = MSEDetector(random_state=0).fit(X)
    display = ScoreHistogramDisplay.from_estimator(detector, X_test, y_test)
    assert display.ax_.lines[0].get_xdata()[0] == pytest.approx(detector.offset_)
    areas = [sum(bar.get_height() * bar.get_width() for bar in bars) for bars in display.ax_.containers]
    assert areas == pytest.approx([1, 1])
    again = ScoreHistogramDisplay.from_scores(detector.score_samples(X_test), y_test, ax=display.figure_.add_subplot())
    assert again.ax_ is not display.ax_
    assert np.array_equal(again.scores, display.scores)
