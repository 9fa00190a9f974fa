"""Raw images through Pipeline and GridSearchCV, as the README writes them, on real photographs."""

import numpy as np
import pytest
import sklearn
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skcnf import ContrastiveFlowDetector, InlierKFold, MocoFeaturizer
from skcnf._core.generators import seeded
from skcnf.moco import EncoderSpec, build_encoder

# tiny hold-outs and five short epochs, which the detector rightly warns of
pytestmark = pytest.mark.filterwarnings("ignore:.*(calibration rows cannot assure|nll_clamp):UserWarning")
SMALL = {"n_blocks": 2, "hidden_units": 32, "max_epochs": 5, "random_state": 0}


def _patches(image, n, rng, size=32):
    rows, columns = (rng.integers(0, extent - size, n) for extent in image.shape[:2])
    return np.stack([image[r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)])


@pytest.fixture(scope="module")
def photographs():
    """Patches of a temple are normal, those of a flower are not; auxiliary patches come from both, unlabelled."""
    rng = np.random.default_rng(0)
    temple, flower = load_sample_images().images
    images = np.concatenate([_patches(temple, 160, rng), _patches(flower, 40, rng)])
    aux = np.concatenate([_patches(temple, 100, rng), _patches(flower, 100, rng)])
    return images, np.repeat([1, -1], [160, 40]), aux


@pytest.fixture(scope="module")
def encoder():
    with seeded(0):
        return build_encoder(EncoderSpec("resnet10", width=16, stem="strided", out_features=32, image_size=32)).eval()


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def _pipeline(encoder, **params):
    steps = [("moco", MocoFeaturizer(encoder)), ("flow", ContrastiveFlowDetector(**{**SMALL, **params}))]
    return Pipeline(steps, transform_input=["X_aux"])


def test_raw_images_and_raw_auxiliary_images(routing, encoder, photographs):
    images, y, aux = photographs
    pipeline = _pipeline(encoder).fit(images, y, X_aux=aux)
    features = MocoFeaturizer(encoder).fit_transform(images), MocoFeaturizer(encoder).fit_transform(aux)
    by_hand = ContrastiveFlowDetector(**SMALL).fit(features[0][y == 1], features[1])
    np.testing.assert_allclose(pipeline.score_samples(images), by_hand.score_samples(features[0]), rtol=1e-6)
    assert set(pipeline.predict(images)) <= {1, -1}


def test_folders_of_image_files(routing, encoder, photographs, tmp_path):
    images, y, aux = photographs
    for name, part in (("normal", images[y == 1]), ("any", aux)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(part):
            Image.fromarray(image).save(tmp_path / name / f"{number:03d}.png")
    from_files = _pipeline(encoder).fit(str(tmp_path / "normal"), X_aux=str(tmp_path / "any"))
    from_arrays = _pipeline(encoder).fit(images[y == 1], X_aux=aux)
    np.testing.assert_array_equal(from_files.score_samples(images), from_arrays.score_samples(images))


def test_frames_as_they_come_are_scored_like_arrays(routing, encoder, photographs):
    images, y, aux = photographs
    pipeline = _pipeline(encoder).fit((image for image in images[y == 1]), X_aux=(image for image in aux))
    from_arrays = _pipeline(encoder).fit(images[y == 1], X_aux=aux)
    expected = from_arrays.score_samples(images)
    np.testing.assert_array_equal(pipeline.score_samples(image for image in images), expected)
    np.testing.assert_array_equal(pipeline.predict(iter(images)), from_arrays.predict(images))


def test_without_routing_features_go_to_the_step(encoder, photographs):
    images, y, aux = photographs
    features = MocoFeaturizer(encoder).fit_transform(aux)
    pipeline = Pipeline(_pipeline(encoder).steps)
    assert pipeline.fit(images, y, flow__X_aux=features).score_samples(images).shape == (200,)
    with pytest.raises(ValueError, match="X_aux must be features"):
        pipeline.fit(images, y, flow__X_aux=aux)


class _Recorder(ContrastiveFlowDetector):
    """Remembers what it was fitted on."""

    seen = []

    def _split(self, X, X_aux, random_state):
        _Recorder.seen.append((len(X), len(X_aux)))
        return super()._split(X, X_aux, random_state)


@pytest.mark.parametrize("n_aux", [200, 130], ids=["as many as rows of X", "fewer"])
def test_grid_search_over_raw_images(routing, encoder, photographs, n_aux):
    images, y, aux = photographs
    pipeline = _pipeline(encoder)
    pipeline.steps[1] = ("flow", _Recorder(**SMALL))
    _Recorder.seen = []
    grid = {"flow__aux_weight": [0.5, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=InlierKFold(2, random_state=0), scoring="roc_auc")
    search.fit(images, y, X_aux=(aux[:n_aux],))
    assert _Recorder.seen == [(80, n_aux)] * 4 + [(160, n_aux)]  # inliers alone, the refit included; X_aux never cut
    assert 0.5 < search.best_score_ <= 1
    features = MocoFeaturizer(encoder).fit_transform(images)
    by_hand = ContrastiveFlowDetector(**SMALL, aux_weight=search.best_params_["flow__aux_weight"])
    by_hand.fit(features[y == 1], MocoFeaturizer(encoder).fit_transform(aux[:n_aux]))
    np.testing.assert_allclose(search.score_samples(images), by_hand.score_samples(features), rtol=1e-6)


def test_a_bare_array_as_long_as_X_would_be_sliced(routing, photographs):
    """The trap that the tuple avoids: should scikit-learn ever pass the array whole, the advice can go."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), np.repeat([1, -1], 50)
    _Recorder.seen = []
    detector, folds = _Recorder(**SMALL, contamination=0.1), InlierKFold(2, random_state=0)
    search = GridSearchCV(detector, {"aux_weight": [1.0]}, cv=folds, scoring="roc_auc", refit=False)
    search.fit(X, y, X_aux=rng.normal(size=(100, 3)))
    assert _Recorder.seen == [(25, 25)] * 2


def test_forgetting_to_transform_the_auxiliary_images_is_told_how_to_mend(routing, encoder, photographs):
    images, y, aux = photographs
    steps = [("moco", MocoFeaturizer(encoder)), ("flow", ContrastiveFlowDetector(**SMALL))]
    with pytest.raises(ValueError, match="X_aux must be features"):
        Pipeline(steps).fit(images, y, X_aux=aux)
    with pytest.raises(ValueError, match=r'transform_input=\["X_aux"\]'):
        Pipeline(steps).fit(images, y, X_aux=np.zeros((50, 3072)))
