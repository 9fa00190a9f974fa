"""Frames of pandas and polars, and torch tensors, in place of arrays."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcnf
from skcnf import MocoFeaturizer, MSEDetector, MSERatioDetector
from tests.detectors.test_detectors import EVERY

NAMES = ["a", "b", "c", "d"]
FRAMES = {
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES),
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
}
CONTAINERS = {**FRAMES, "torch": torch.from_numpy, "gradient": lambda X: torch.from_numpy(X).requires_grad_(True)}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
def test_scores_are_those_of_arrays(detector, name, rows):
    contain = CONTAINERS[name]
    X, X_aux, X_test, _ = rows
    expected = clone(detector).fit(X, X_aux)
    found = clone(detector).fit(contain(X), contain(X_aux))
    np.testing.assert_allclose(found.decision_function(contain(X_test)), expected.decision_function(X_test), rtol=1e-6)
    np.testing.assert_array_equal(found.predict(contain(X_test)), expected.predict(X_test))
    if name in FRAMES:
        assert found.feature_names_in_.tolist() == NAMES
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            found.predict(contain(X_test)[NAMES[::-1]])
    else:
        assert not hasattr(found, "feature_names_in_")


@pytest.mark.parametrize("name", CONTAINERS)
def test_decisions_shards_and_updates_take_them_too(name, rows):
    contain = CONTAINERS[name]
    X, X_aux, X_test, _ = rows
    expected = MSERatioDetector(random_state=0).fit(X, X_aux)
    shards = [contain(X_aux[:900]), contain(X_aux[900:])]
    for second in (shards, tuple(shards)):
        found = MSERatioDetector(random_state=0).fit(contain(X), second)
        np.testing.assert_allclose(found.p_values(contain(X_test)), expected.p_values(X_test))
    flow = skcnf.FlowDetector(n_blocks=2, hidden_units=8, max_epochs=1, device="cpu", random_state=0)
    updated = [clone(flow).partial_fit(own[:600]).partial_fit(own[:600]) for own in (X, contain(X))]
    np.testing.assert_allclose(updated[1].score_samples(contain(X_test)), updated[0].score_samples(X_test), rtol=1e-6)
    groups = pl.Series(["left", "right"] * 300) if name == "polars" else ["left", "right"] * 300
    found.recalibrate(contain(X), groups=groups)
    assert set(found.group_offsets_) == {"left", "right"}
    assert found.predict(contain(X_test), groups=groups).shape == (600,)


@pytest.mark.parametrize("label", [np.asarray, pd.Series, pl.Series, torch.from_numpy], ids=lambda kind: kind.__name__)
def test_labels_may_be_of_any_kind(label, rows):
    X, _, X_test, y_test = rows
    both = np.concatenate([X, X_test])
    y = np.concatenate([np.ones(600, int), y_test])
    expected = MSEDetector(random_state=0).fit(both[y == 1])
    np.testing.assert_allclose(MSEDetector(random_state=0).fit(both, label(y)).mean_, expected.mean_, rtol=0.01)
    assert abs(MSEDetector(random_state=0).fit(both).mean_ - expected.mean_).max() > 0.1


def test_columns_of_auxiliary_frames_must_be_those_of_X(rows):
    X, X_aux = pl.DataFrame(rows[0], schema=NAMES), pl.DataFrame(rows[1], schema=NAMES[::-1])
    with pytest.raises(ValueError, match=re.escape("X_aux must have the columns of X in their order, ['a', 'b', 'c',")):
        MSERatioDetector().fit(X, X_aux)
    with pytest.warns(UserWarning, match="X has feature names and X_aux has none"):
        MSERatioDetector(random_state=0).fit(X, rows[1])


def test_what_has_no_rows_yet_is_named(rows):
    with pytest.raises(TypeError, match=r"got a LazyFrame\. Call its \.collect\(\) first"):
        MSEDetector().fit(pl.DataFrame(rows[0]).lazy())


def test_bfloat16_is_taken(rows):
    X = torch.from_numpy(rows[0]).bfloat16()
    found = MSEDetector(random_state=0).fit(X)
    np.testing.assert_array_equal(found.mean_, MSEDetector(random_state=0).fit(X.float().numpy()).mean_)


@pytest.mark.parametrize("output", FRAMES)
def test_features_come_as_frames(output):
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    featurizer = MocoFeaturizer().fit(images).set_output(transform=output)
    frame = featurizer.transform(images)
    assert isinstance(frame, pd.DataFrame if output == "pandas" else pl.DataFrame)
    assert list(frame.columns) == featurizer.get_feature_names_out().tolist()
    np.testing.assert_array_equal(frame.to_numpy(), MocoFeaturizer().fit(images).transform(images))
    detector = MSEDetector(false_alarm_rate=0.4, random_state=0)
    pipeline = make_pipeline(MocoFeaturizer(), StandardScaler(), detector).set_output(transform=output)
    plain = make_pipeline(MocoFeaturizer(), StandardScaler(), clone(detector)).fit(images)
    np.testing.assert_array_equal(pipeline.fit(images).predict(images), plain.predict(images))
    assert pipeline[-1].feature_names_in_.tolist() == featurizer.get_feature_names_out().tolist()


def test_torchs_images_are_taken():
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 32, 3), dtype=np.uint8)
    expected = MocoFeaturizer().fit_transform(images)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(MocoFeaturizer().fit_transform(tensor), expected)
    np.testing.assert_array_equal(MocoFeaturizer().fit_transform(list(tensor)), expected)
    with pytest.raises(ValueError, match=r"X is a torch tensor of shape \(6, 40, 32, 3\); torch's images are"):
        MocoFeaturizer().fit(torch.from_numpy(images))
    with pytest.raises(ValueError, match="say which of them are black and white"):
        MocoFeaturizer().fit(tensor / 255)


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
def test_notebooks_show_detectors_as_scikit_learn_does(detector, rows):
    with sklearn.config_context(print_changed_only=False):
        page = make_pipeline(StandardScaler(), clone(detector))._repr_html_()
    assert "sk-top-container" in page
    assert type(detector).__name__ in page
    assert "validation_fraction" in page
    bundle = clone(detector)._repr_mimebundle_()
    assert bundle["text/plain"] == repr(detector)
    assert "text/html" in bundle
