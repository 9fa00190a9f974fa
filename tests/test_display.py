import numpy as np
import pytest

from skcnf import MSEDetector
from skcnf.display import BenchmarkDisplay, FeatureCorrelationDisplay, ScoreHistogramDisplay
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


def test_feature_correlation_is_between_images_and_averages_without_the_diagonal():
    rng = np.random.default_rng(0)
    independent = rng.normal(size=(30, 200))
    alike = independent * 0.1 + rng.normal(size=200)
    display = FeatureCorrelationDisplay.from_features({"alike": alike, "independent": independent})
    assert display.mean_correlation["alike"] > 0.95
    assert abs(display.mean_correlation["independent"]) < 0.02
    assert [len(axes.images) for axes in display.ax_] == [1, 1]
    assert display.correlations["alike"].shape == (30, 30)
    assert display.ax_[0].get_title().startswith("alike")
    single = FeatureCorrelationDisplay.from_features({"one": independent})
    assert len(single.ax_) == 1
    with pytest.raises(ValueError, match="for the same images; got"):
        FeatureCorrelationDisplay.from_features({"a": independent, "b": independent[:5]})
