import re
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from skcnf import MSEDetector, MSERatioDetector
from skcnf.display import (
    AblationDisplay,
    BenchmarkDisplay,
    ConfusionDisplay,
    DifferenceDensityDisplay,
    FeatureCorrelationDisplay,
    RankedImagesDisplay,
    ScoreHistogramDisplay,
    ScorePanelsDisplay,
)
from skcnf.flows import LogisticMixtureFlow, optimal_density
from tests.evaluation.test_protocols import _results


def test_detectors_that_failed_are_left_out():
    results = _results()
    failed = results.assign(detector="failed", auroc=np.nan)
    labels = [
        [label.get_text() for label in BenchmarkDisplay.from_results(frame).ax_.get_yticklabels()]
        for frame in (results, pd.concat([results, failed]))
    ]
    assert labels[0] == labels[1]


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
    with pytest.raises(ValueError, match="ax holds 2 axes; 1 panels"):
        single.plot(ax=display.ax_)


def test_scores_far_below_the_inliers_are_gathered_in_the_first_bin_and_the_threshold_is_shown():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 500), rng.normal(-20_000, 5_000, 500)])
    y = np.repeat([1, -1], 500)
    low, high = ScoreHistogramDisplay.from_scores(scores, y).ax_.get_xlim()
    assert -20 < low < -10
    assert 2 < high < 6
    assert ScoreHistogramDisplay.from_scores(scores, y, threshold=-100.0).ax_.get_xlim()[0] < -100


# Histograms by class


SCORES = np.concatenate([np.linspace(2, 4, 40), np.linspace(0, 2, 40), np.linspace(1, 3.5, 40)])
LABELS = np.repeat(["deer", "ship", "horse"], 40)
KINDS = np.where(LABELS == "deer", 1, -1)


def _legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_anomalies_are_drawn_class_by_class_in_lines_that_differ():
    display = ScoreHistogramDisplay.from_scores(SCORES, KINDS, labels=LABELS, threshold=2.1)
    assert _legend(display.ax_) == ["deer (inliers)", "ship", "horse", "threshold"]
    (bars,) = display.ax_.containers
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    ship, horse, threshold = display.ax_.lines
    assert threshold.get_xdata()[0] == 2.1
    assert {ship.get_color(), horse.get_color()}.isdisjoint({bars[0].get_facecolor()})
    assert ship.get_color() != horse.get_color()
    assert ship.get_linestyle() != horse.get_linestyle()
    for line, label in ((ship, "ship"), (horse, "horse")):
        middles, density = line.get_data()
        assert density.sum() * (middles[1] - middles[0]) == pytest.approx(1)
        assert np.average(middles, weights=density) == pytest.approx(SCORES[label == LABELS].mean(), abs=0.1)


def test_twenty_seven_classes_have_lines_of_their_own():
    labels = np.repeat(np.arange(28), 3)
    display = ScoreHistogramDisplay.from_scores(np.arange(84.0), np.where(labels == 0, 1, -1), labels=labels)
    kinds = {(line.get_color(), line._dash_pattern[0], str(line._dash_pattern)) for line in display.ax_.lines}
    assert len(display.ax_.lines) == len(kinds) == 27


def test_panels_of_detectors_share_rows_and_one_legend(rows):
    X, X_aux, X_test, y_test = rows
    detectors = {"MSE": MSEDetector(random_state=0).fit(X), "MSE-ratio": MSERatioDetector(random_state=0).fit(X, X_aux)}
    labels = np.where(y_test == 1, "a", "b")
    display = ScorePanelsDisplay.from_estimators(detectors, X_test, y_test, labels=labels)
    assert [ax.get_title().split(":")[0] for ax in display.ax_] == ["MSE", "MSE-ratio"]
    auroc = [float(re.search(r"AUROC (\S+) %", ax.get_title())[1]) for ax in display.ax_]
    scores = [detector.score_samples(X_test) for detector in detectors.values()]
    assert auroc == pytest.approx([100 * roc_auc_score(y_test, values) for values in scores], abs=0.05)
    assert [ax.get_legend() is None for ax in display.ax_] == [True, False]
    assert _legend(display.ax_[1]) == ["a (inliers)", "b", "threshold"]
    for ax, detector in zip(display.ax_, detectors.values(), strict=True):
        assert ax.lines[-1].get_xdata()[0] == detector.offset_


def test_panels_stand_in_rows_of_n_columns():
    scores = dict.fromkeys("abc", SCORES)
    display = ScorePanelsDisplay.from_scores(scores, KINDS, n_columns=2)
    corners = [ax.get_subplotspec().get_geometry()[:3] for ax in display.ax_]
    assert corners == [(2, 2, 0), (2, 2, 1), (2, 2, 2)]
    assert len(display.figure_.axes) == 3
    assert [ax.get_ylabel() for ax in display.ax_] == ["density", "", "density"]
    one_kind = ScorePanelsDisplay.from_scores({"only": SCORES}, np.ones(120, int))
    assert one_kind.ax_[0].get_title() == "only"  # no AUROC without anomalies
    assert _legend(one_kind.ax_[0]) == ["inliers"]


@pytest.mark.parametrize(
    ("scores", "y", "labels", "message"),
    [
        (SCORES, KINDS[:5], None, "got shapes (120,) and (5,)"),
        (np.where(KINDS == 1, np.nan, SCORES), KINDS, None, "scores holds 40 values that are not finite"),
        (SCORES, KINDS == 1, None, "y must be +1 for inliers and -1 for anomalies; got [False, True]"),
        (SCORES, KINDS, LABELS[:7], "labels has shape (7,); one for each score makes (120,)"),
    ],
)
def test_malformed_scores_are_named(scores, y, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ScoreHistogramDisplay.from_scores(scores, y, labels=labels)


def test_no_panel_and_no_column_are_refused():
    with pytest.raises(ValueError, match="panels is empty"):
        ScorePanelsDisplay({})
    with pytest.raises(ValueError, match="n_columns=0 must"):
        ScorePanelsDisplay.from_scores({"a": SCORES}, KINDS, n_columns=0)


# Difference of densities

GRID = np.linspace(-9, 11, 2001)
P, Q = norm.pdf(GRID), norm.pdf(GRID, 1, 2)


def test_the_difference_of_normals_is_the_papers_figure():
    display = DifferenceDensityDisplay.from_densities(GRID, P, Q, clamps=(2.0, np.inf))
    assert display.normalizer == pytest.approx(2.5637, abs=1e-3)  # 1 / total variation distance of p and q
    dots = [line.get_data() for line in display.ax_[0].lines if line.get_marker() == "."]
    assert [float(x[0]) for x, _ in dots] == pytest.approx([-1.848, 1.181], abs=1e-3)  # where p = q
    assert [float(y[0]) for _, y in dots] == pytest.approx(norm.pdf([-1.848, 1.181]), abs=1e-3)
    assert len(display.figure_.artists) == 2  # the lines that join the panels
    shade = display.ax_[2].collections[0].get_paths()[0].vertices
    assert shade[:, 1].max() == pytest.approx((display.normalizer * (P - Q)).max())
    np.testing.assert_allclose(display.optima[np.inf], np.maximum(P - Q, 0) * display.normalizer, atol=1e-9)
    np.testing.assert_allclose(display.optima[2.0], optimal_density(P, Q, 0.01, clamp=2.0), atol=1e-9)
    assert display.total_variation == {}
    assert "optimum for the clamp" in _legend(display.ax_[-1])
    assert "density of the flow" not in _legend(display.ax_[-1])


def test_a_flow_is_drawn_beside_the_optimum_of_its_clamp():
    flow = LogisticMixtureFlow()
    axes = Figure().subplots(1, 3)
    display = DifferenceDensityDisplay.from_flows(
        {1.0: flow, 4.0: None}, GRID, P, Q, aux_weight=0.5, legend=False, ax=axes
    )
    assert list(display.ax_) == list(axes)
    assert all(ax.get_legend() is None for ax in axes)
    assert display.learnt.keys() == {1.0}
    assert np.array_equal(axes[0].lines[1].get_ydata(), 0.5 * Q)
    assert axes[0].lines[1].get_label() == "0.5 q, auxiliary rows"
    assert display.learnt[1.0].sum() * 0.01 == pytest.approx(1, abs=1e-3)
    best = optimal_density(P, Q, 0.01, clamp=1.0, aux_weight=0.5)
    distance = 0.5 * np.abs(display.learnt[1.0] - best).sum() * 0.01
    assert display.total_variation == {1.0: pytest.approx(distance)}
    assert f"{distance:.3f}" in axes[1].get_title()
    assert axes[2].get_title() == "clamp 4"
    drawn = {line.get_label(): line.get_ydata() for line in axes[1].lines}
    assert np.array_equal(drawn["density of the flow"], display.learnt[1.0])
    assert np.array_equal(drawn["optimum for the clamp"], display.optima[1.0])
    assert drawn["floor"][0] == pytest.approx(np.exp(-1) * norm.pdf(0))


@pytest.mark.parametrize(
    ("x", "p", "clamps", "message"),
    [
        (GRID[::-1], P, (1.0,), "x must be a regular, increasing grid"),
        (np.exp(GRID), P, (1.0,), "x must be a regular, increasing grid"),
        (GRID, P[:-1], (1.0,), "p must be a density at each point of x, not negative and of mass 1; got shape (2000,)"),
        (GRID, 2 * P, (1.0,), "mass 2"),
        (GRID, P, (), "there is no clamp"),
    ],
)
def test_malformed_densities_are_named(x, p, clamps, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DifferenceDensityDisplay.from_densities(x, p, Q, clamps=clamps)


# Ranked images

IMAGES = np.arange(12, dtype=np.uint8).repeat(48).reshape(12, 4, 4, 3)  # an image's value is its number
RANKS = np.array([5.0, 9, 1, 7, 3, 11, 0, 10, 2, 8, 4, 6])
HALF = np.repeat([1, -1], 6)


def _numbers(row):
    return {group: [int(image.flat[0]) for image in images] for group, images in row.items()}


def test_the_images_of_a_group_are_its_extremes_in_order():
    groups = ("highest_inliers", "highest_anomalies", "lowest_inliers", "lowest_anomalies")
    display = RankedImagesDisplay.from_scores(IMAGES, RANKS, HALF, n=2, groups=groups, name="x")
    assert _numbers(display.rows["x"]) == {
        "highest_inliers": [5, 1],
        "highest_anomalies": [7, 9],
        "lowest_inliers": [2, 4],
        "lowest_anomalies": [6, 8],
    }
    lefts = [image.get_extent()[0] for image in display.ax_.images]
    assert lefts == sorted(lefts)
    assert [int(np.asarray(image.get_array()).flat[0]) for image in display.ax_.images] == [5, 1, 7, 9, 2, 4, 6, 8]
    titles = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert titles[1] == "anomalies,\nhighest scores"


def test_several_rows_stand_below_each_other_by_scores_of_their_own():
    rows = {"up": (RANKS, HALF), "down": (-RANKS, HALF), "few": (RANKS, np.where(np.arange(12) == 3, 1, -1))}
    display = RankedImagesDisplay.from_rows([Image.fromarray(image) for image in IMAGES], rows)
    assert list(display.rows["up"]) == ["highest_inliers", "highest_anomalies", "lowest_inliers"]  # figure 4
    assert _numbers(display.rows["down"])["highest_inliers"] == _numbers(display.rows["up"])["lowest_inliers"]
    assert _numbers(display.rows["few"])["lowest_inliers"] == [3]  # a group that holds fewer is whole
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["up", "down", "few"]
    tops = [image.get_extent()[3] for image in display.ax_.images]
    assert [int(top) for top in tops] == [0] * 9 + [1] * 9 + [2] * 5


def test_images_keep_their_shape_and_their_cells():
    wide = np.zeros((4, 10, 20), np.uint8)
    display = RankedImagesDisplay.from_scores(wide, np.arange(4.0), [1, 1, -1, -1], n=1)
    left, right, bottom, top = display.ax_.images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(2)
    assert right - left <= 1
    assert display.ax_.get_xticklabels()[0].get_text() == "inliers,\nhighest\nscores"


def test_an_estimator_ranks_the_images_that_its_features_belong_to(rows):
    X, _, X_test, y_test = rows
    detector = MSEDetector(random_state=0).fit(X)
    images = np.zeros((600, 2, 2, 3), np.uint8)
    best = np.argmax(np.where(y_test == 1, detector.score_samples(X_test), -np.inf))
    images[best] = 200
    options = {"n": 1, "groups": ("highest_inliers",)}
    display = RankedImagesDisplay.from_estimator(detector, X_test, y_test, images, name="temple", **options)
    assert _numbers(display.rows["temple"]) == {"highest_inliers": [200]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": ("typical",)}, "groups=('typical',) must be one or several of ('highest_inliers',"),
        ({"groups": ()}, "groups=() must be"),
        ({"n": 0}, "n=0 must be at least 1"),
        ({"images": IMAGES[:4]}, "row 'x' has 12 scores; there are 4 images"),
        ({"y": np.zeros(12)}, "y must be +1 for inliers and -1 for anomalies; got [0.0]"),
    ],
)
def test_malformed_choices_of_images_are_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RankedImagesDisplay.from_scores(**{"images": IMAGES, "scores": RANKS, "y": HALF, "name": "x", **arguments})


def test_no_row_of_images_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        RankedImagesDisplay({})


# Confusion

AUROC = pd.DataFrame(
    [[np.nan, 98.3, 89.96], [99.6, np.nan, 70.04]], index=["plane", "car"], columns=["plane", "car", "bird"]
)


def test_the_confusion_prints_every_pair_and_hard_ones_in_bold():
    display = ConfusionDisplay.from_frame(AUROC)
    texts = {text.get_text(): text.get_weight() for text in display.ax_.texts}
    means = {"94.1": "normal", "84.8": "bold"}
    assert texts == {"98.3": "normal", "90.0": "normal", "99.6": "normal", "70.0": "bold", **means}
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["plane", "car", "bird", "mean"]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["plane", "car"]
    assert "bold: below 90" in display.ax_.get_title()
    (hard,) = (text for text in display.ax_.texts if text.get_text() == "70.0")
    assert hard.get_position() == (2, 1)
    assert {text.get_text(): text.get_color() for text in display.ax_.texts}["99.6"] == "black"
    assert hard.get_color() == "white"  # on the darkest colour


def test_the_threshold_and_a_mean_at_hand_are_kept():
    ax = Figure().subplots()
    display = ConfusionDisplay.from_frame(AUROC.assign(mean=[50.0, 99.0]), threshold=99, ax=ax)
    assert display.ax_ is ax
    bold = {text.get_text() for text in ax.texts if text.get_weight() == "bold"}
    assert bold == {"98.3", "90.0", "70.0", "50.0"}
    assert "below 99" in ax.get_title()


@pytest.mark.parametrize("frame", [AUROC / 100, AUROC - 80, AUROC * 2, AUROC[[]]], ids=["share", "low", "high", "none"])
def test_what_is_not_per_cent_is_refused(frame):
    with pytest.raises(ValueError, match="frame must hold AUROC in per cent, from 0 to 100"):
        ConfusionDisplay.from_frame(frame)


def _drawn_texts(ax):
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
        yield from (tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
        yield axis.label
    yield from (ax.title, *ax.texts, *(ax.get_legend().get_texts() if ax.get_legend() else ()))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: BenchmarkDisplay.from_results(_results()),
        lambda: ScorePanelsDisplay.from_scores({"a": SCORES, "b": SCORES}, KINDS, labels=LABELS),
        lambda: DifferenceDensityDisplay.from_densities(GRID, P, Q, clamps=(1.0, np.inf)),
        lambda: RankedImagesDisplay.from_scores(IMAGES, RANKS, HALF),
        lambda: RankedImagesDisplay.from_scores(IMAGES, RANKS, HALF, n=2, name="automobile"),
        lambda: RankedImagesDisplay.from_scores(IMAGES, RANKS, HALF, n=1, name="automobile"),
        lambda: ConfusionDisplay.from_frame(AUROC),
    ],
    ids=["benchmark", "panels", "difference", "images", "two images", "single images", "confusion"],
)
def test_no_text_overlaps_or_leaves_the_figure_and_pyplot_is_not_used(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import fails
    display = draw()
    canvas = FigureCanvasAgg(display.figure_)
    canvas.draw()
    texts = [text for ax in display.figure_.axes for text in _drawn_texts(ax) if text.get_text() and text.get_visible()]
    assert texts
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    width, height = canvas.get_width_height()
    for number, box in enumerate(boxes):
        assert box.x0 >= -1, texts[number]
        assert box.y0 >= -1, texts[number]
        assert box.x1 <= width + 1, texts[number]
        assert box.y1 <= height + 1, texts[number]
        clash = [
            other for other, earlier in zip(texts, boxes[:number], strict=False) if box.padded(-1).overlaps(earlier)
        ]
        assert not clash, (texts[number], clash)


def test_ablations_draw_numbers_on_an_axis_and_names_side_by_side():
    index = [100, 1_000, 30_000]
    mean = pd.DataFrame({"CF": [80.0, 84.0, 88.0], "KNN": [86.0, np.nan, 86.0], "none": [np.nan] * 3}, index=index)
    display = AblationDisplay.from_frame(mean, mean * 0 + 0.5, label="auxiliary rows")
    assert display.ax_.get_xscale() == "log"
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["100", "1,000", "30,000"]
    cf, knn = (container.lines[0].get_xydata() for container in display.ax_.containers)
    np.testing.assert_array_equal(cf, np.column_stack([index, mean["CF"]]))
    np.testing.assert_array_equal(knn[:, 0], [100, 30_000])  # what was not run is left out
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["CF", "KNN"]
    named = AblationDisplay.from_frame(mean.set_axis(["noise", "CelebA", "photographs"]))
    assert [text.get_text() for text in named.ax_.get_xticklabels()] == ["noise", "CelebA", "photographs"]
    assert named.ax_.containers[0].lines[0].get_linestyle() == "None"
    left, right = (container.lines[0].get_xdata() for container in named.ax_.containers)
    assert left[0] == -right[0] < 0  # both over the first name, beside each other
    assert AblationDisplay.from_frame(mean.set_axis([0, 1, 2])).ax_.get_xscale() == "linear"
    assert AblationDisplay.from_frame(mean.set_axis([0, 0.003, 0.1])).ax_.get_xscale() == "symlog"


def test_ablations_without_values_are_refused():
    mean = pd.DataFrame({"CF": [np.nan]}, index=[1])
    with pytest.raises(ValueError, match="mean must hold at least one value"):
        AblationDisplay.from_frame(mean)
    with pytest.raises(ValueError, match="std must have the rows and columns of mean"):
        AblationDisplay.from_frame(mean.fillna(1), mean.set_axis([2]))
