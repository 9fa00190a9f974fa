"""Rot+Trans and CSI as detectors of images: what they learn, and the contract of estimators."""

import copy
import itertools
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.utils import estimator_checks, get_tags
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from skcnf import CSIDetector, RotTransDetector, info, load, save
from skcnf._core.generators import seeded
from skcnf.detectors.images import _training
from skcnf.detectors.images._training import ImageTrainer
from skcnf.moco import EncoderSpec, build_encoder, save_encoder

SMALL = {"arch": "resnet10", "width": 8, "image_size": 16, "batch_size": 16, "device": "cpu", "random_state": 0}
EVERY = [
    RotTransDetector(**SMALL, n_epochs=2, validation_fraction=0.3),
    CSIDetector(**SMALL, n_epochs=2, validation_fraction=0.3, n_views=2),
]
every_detector = pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)


def _patches(n, seed):
    """Upright patches of a photograph of a temple, 128 pixels a side, shrunk to 16."""
    photograph, rng = load_sample_images().images[0], np.random.default_rng(seed)
    height, width = photograph.shape[:2]
    corners = np.stack([rng.integers(0, height - 128, n), rng.integers(0, width - 128, n)], 1)
    crops = np.stack([photograph[y : y + 128, x : x + 128] for y, x in corners])
    return crops.reshape(n, 16, 8, 16, 8, 3).mean((2, 4)).astype(np.uint8)


@pytest.fixture(scope="module")
def images():
    return _patches(80, seed=0)


@pytest.fixture(scope="module")
def fitted(images):
    return {type(detector): clone(detector).fit(images) for detector in EVERY}


# What they learn


@pytest.mark.parametrize(
    ("detector", "at_least"),
    [(RotTransDetector(**SMALL, n_epochs=8), 0.95), (CSIDetector(**SMALL, n_epochs=8, n_views=2), 0.8)],
    ids=["rot-trans", "csi"],
)
def test_rotated_patches_are_told_from_upright_ones(detector, at_least):
    upright = _patches(150, seed=1)
    turned = np.concatenate([np.rot90(upright[k::3], k + 1, (1, 2)) for k in range(3)])
    detector.fit(_patches(400, seed=0))
    scores = detector.score_samples(np.concatenate([upright, turned]))
    assert roc_auc_score(np.repeat([1, -1], 150), scores) > at_least
    losses = [record["loss"] for record in detector.history_]
    assert losses[-1] < losses[0] - 0.3
    assert (detector.predict(turned) == -1).mean() > 2 * (detector.predict(upright) == -1).mean()


@every_detector
@pytest.mark.parametrize("precision", ["bfloat16", "float32", "auto"])
def test_precision_is_that_of_convolutions_in_training_and_in_scoring(detector, precision, images, fitted):
    seen = set()

    def note(module, _, output):
        if isinstance(module, nn.Conv2d):
            seen.add((module.training, output.dtype))

    detector = clone(detector).set_params(precision=precision)
    with register_module_forward_hook(note):
        scores = detector.fit(images).score_samples(images)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    assert seen == {(True, dtype), (False, dtype)}
    assert {parameter.dtype for parameter in detector.encoder_.parameters()} == {torch.float32}
    if precision != "bfloat16":
        np.testing.assert_array_equal(scores, fitted[type(detector)].score_samples(images))


@every_detector
def test_scores_in_bfloat16_are_near_those_in_float32(detector, images, fitted):
    detector = fitted[type(detector)]
    expected = detector.score_samples(images)
    scores = copy.deepcopy(detector).set_params(precision="bfloat16").score_samples(images)
    assert 0 < np.abs(scores - expected).max() < expected.std() / 2


def test_csi_learns_to_tell_the_rotation(fitted):
    first, *_, last = fitted[CSIDetector].history_
    assert last["shift"] < first["shift"]
    assert last["loss"] == pytest.approx(last["contrast"] + last["shift"], rel=1e-5)


def test_the_score_of_rot_trans_is_a_log_probability_of_36_copies(fitted, images):
    detector = fitted[RotTransDetector]
    assert detector.score_samples(images).max() < 0
    detector = copy.deepcopy(detector)
    nn.init.zeros_(detector.encoder_.fc.weight)
    nn.init.zeros_(detector.encoder_.fc.bias)
    np.testing.assert_allclose(detector.score_samples(images[:3]), -36 * np.log(36), rtol=1e-6)


def test_the_score_of_rot_trans_is_that_of_copies_made_by_hand(fitted, images):
    """np.pad reflects at the outermost pixels, too; the heads stand in the order down, right, rotation."""
    detector, expected = fitted[RotTransDetector], np.zeros(3)
    for i, j, turn in itertools.product(range(3), range(3), range(4)):
        down, right = (0, -4, 4)[i], (0, -4, 4)[j]
        padded = np.pad(images[:3], [(0, 0), (4, 4), (4, 4), (0, 0)], mode="reflect")
        moved = np.rot90(padded[:, 4 - down : 20 - down, 4 - right : 20 - right], turn, (1, 2)) / 255
        x = (moved - np.array(detector.encoder_.spec.mean)) / np.array(detector.encoder_.spec.std)
        logits = detector.encoder_(torch.tensor(x.transpose(0, 3, 1, 2).copy(), dtype=torch.float32))
        heads = zip(logits.split((3, 3, 4), 1), (i, j, turn), strict=True)
        expected += sum(head.log_softmax(1)[:, right_one] for head, right_one in heads).numpy()
    np.testing.assert_allclose(detector.score_samples(images[:3]), expected, rtol=1e-5)


def test_every_epoch_draws_anew(images):
    seen = []

    def losses(network, batch, generator):
        seen.append((batch.sum((1, 2, 3)).tolist(), torch.rand((), generator=generator).item()))
        return {"loss": network(torch.zeros(1, 1)).sum()}

    trainer = ImageTrainer(n_epochs=2, batch_size=40, learning_rate=1e-3, weight_decay=0.0, seed=0)
    with seeded(0):
        network = nn.Linear(1, 1)
    history = trainer.train(network, images, losses, {})
    assert [record["epoch"] for record in history] == [1, 2]
    totals = sorted(images.reshape(80, -1).sum(1).tolist())
    assert sorted(seen[0][0] + seen[1][0]) == sorted(seen[2][0] + seen[3][0]) == totals  # every image once an epoch
    assert len({tuple(batch) for batch, _ in seen}) == len({draw for _, draw in seen}) == 4


def test_csi_terms_are_1_on_average_over_the_training_images(images):
    detector = clone(EVERY[1]).set_params(contamination=0.1, n_epochs=4).fit(images)
    norms = np.linalg.norm(detector.directions_, axis=2)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    assert detector.directions_.shape[:2] == (4, 80)
    without_shift = copy.deepcopy(detector)
    without_shift.shift_weights_ = np.full(4, np.float32(1e-30))
    assert without_shift.score_samples(images).mean() == pytest.approx(4, rel=1e-4)  # each is nearest to itself


# Estimators


_CHECKS = [
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
]


@every_detector
@pytest.mark.parametrize("check", _CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_checks_that_need_no_features(detector, check):
    name = type(detector).__name__
    check(name, type(detector)() if check is estimator_checks.check_parameters_default_constructible else detector)


@every_detector
def test_tags_tell_of_images(detector):
    tags = get_tags(detector)
    assert not tags.input_tags.two_d_array
    assert tags.estimator_type == "outlier_detector"


@every_detector
def test_decisions_follow_from_held_out_scores(detector, fitted, images):
    detector, new = fitted[type(detector)], _patches(40, seed=2)
    scores = detector.score_samples(new)
    assert scores.dtype == np.float64
    assert len(detector.calibration_scores_) == 24
    np.testing.assert_array_equal(detector.decision_function(new), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(new), np.where(scores >= detector.offset_, 1, -1))
    slow = [(1 + (detector.calibration_scores_ <= score).sum()) / 25 for score in scores]
    np.testing.assert_allclose(detector.p_values(new), slow)
    assert np.isin(detector.calibration_scores_, detector.score_samples(images)).all()  # what is calibrated scores


@every_detector
def test_a_float_contamination_flags_that_share_of_the_images(detector, images):
    detector = clone(detector).set_params(contamination=0.25)
    assert (detector.fit_predict(images) == -1).mean() == 0.25


@every_detector
def test_equal_seeds_give_equal_scores_and_others_do_not(detector, fitted, images):
    again, other = (clone(detector).set_params(random_state=seed).fit(images) for seed in (0, 1))
    expected = fitted[type(detector)].score_samples(images)
    np.testing.assert_array_equal(again.score_samples(images), expected)
    assert not np.allclose(other.score_samples(images), expected)


@every_detector
def test_a_score_does_not_depend_on_the_images_beside(detector, fitted, images):
    detector = fitted[type(detector)]
    expected = detector.score_samples(images)
    np.testing.assert_array_equal(detector.score_samples(images[7:8]), expected[7:8])
    np.testing.assert_array_equal(detector.score_samples(images[::-1]), expected[::-1])


@every_detector
def test_other_sources_of_images_give_the_same_scores(detector, fitted, images, tmp_path):
    detector = fitted[type(detector)]
    expected = detector.score_samples(images[:4])
    pictures = [Image.fromarray(image) for image in images[:4]]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    for source in (list(images[:4]), pictures, tmp_path):
        np.testing.assert_array_equal(detector.score_samples(source), expected)


@every_detector
def test_marked_anomalies_are_never_learnt_from(detector, fitted, images):
    X, y = np.concatenate([255 - images[:30], images]), np.repeat([-1, 1], [30, 80])
    marked = clone(detector).fit(X, y)
    expected = fitted[type(detector)].score_samples(images)
    np.testing.assert_array_equal(marked.score_samples(images), expected)


# Where training starts


@every_detector
def test_training_starts_from_weights(detector, images, tmp_path):
    with seeded(3):
        encoder = build_encoder(EncoderSpec("resnet10", 8, "strided", "mlp", 12, image_size=16)).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    still = clone(detector).set_params(learning_rate=1e-12, n_epochs=1, image_size=None, weight_decay=0.0)
    for weights in (encoder, tmp_path / "encoder.safetensors"):
        trained = clone(still).set_params(weights=weights).fit(images)
        assert trained.image_size_ == 16
        torch.testing.assert_close(trained.encoder_.conv1.weight, before["conv1.weight"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    bundled = clone(still).set_params(weights="tinyimagenet32", false_alarm_rate=0.2).fit(images[:20])
    assert bundled.image_size_ == 32
    assert bundled.encoder_.spec.width == 32


def test_weights_that_are_no_encoder_of_this_package_are_named(images):
    detector = clone(EVERY[0])
    with pytest.raises(ValueError, match="weights='Identity' is no ResNet of this package"):
        detector.set_params(weights=nn.Identity()).fit(images)
    with pytest.raises(ValueError, match="weights='nowhere' is neither a bundled encoder"):
        detector.set_params(weights="nowhere").fit(images)
    with pytest.raises(ValueError, match="weights='timm:resnet18' is no ResNet of this package"):  # and no download
        detector.set_params(weights="timm:resnet18").fit(images)
    assert not hasattr(detector, "encoder_")


# Checkpoints


def test_checkpoints_that_cannot_be_a_folder_are_named(images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"checkpoints='.*file' cannot be made a folder: File exists"):
        clone(EVERY[0]).set_params(checkpoints=tmp_path / "file").fit(images)


@every_detector
def test_a_cut_fit_goes_on_to_the_same_scores(detector, fitted, images, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "folder"
    detector = clone(detector).set_params(checkpoints=folder)
    write, trained = _training.write_checkpoint, []

    class Killed(Exception):
        pass

    def write_and_die(path, run, history, *rest):
        write(path, run, history, *rest)
        trained.append(len(history))
        if len(trained) == 1:
            raise Killed

    monkeypatch.setattr(_training, "write_checkpoint", write_and_die)
    with pytest.raises(Killed):
        detector.fit(images)
    assert not hasattr(detector, "history_")
    detector.fit(images)
    assert trained == [1, 2]  # the second fit trains the second epoch alone
    whole = fitted[type(detector)]
    assert [record["loss"] for record in detector.history_] == [record["loss"] for record in whole.history_]
    np.testing.assert_array_equal(detector.score_samples(images), whole.score_samples(images))
    detector.fit(255 - images)  # another run: a file of its own
    detector.set_params(precision="bfloat16").fit(images)
    assert trained == [1, 2] * 3
    assert len(list(folder.iterdir())) == 3


def test_a_damaged_checkpoint_is_named(images, tmp_path):
    detector = clone(EVERY[0]).set_params(checkpoints=tmp_path).fit(images)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(file.name)):
        detector.fit(images)


# Files and copies


@every_detector
def test_copies_and_files_score_the_same(detector, fitted, images, tmp_path):
    detector = fitted[type(detector)]
    save(detector, tmp_path / "model.skcnf")
    expected = detector.score_samples(images)
    loaded = load(tmp_path / "model.skcnf")
    for other in (loaded, copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(other.score_samples(images), expected)
        np.testing.assert_array_equal(other.predict(images), detector.predict(images))
    assert loaded.get_params() == detector.get_params()
    assert [record["loss"] for record in loaded.history_] == [record["loss"] for record in detector.history_]
    assert info(tmp_path / "model.skcnf")["detector"] == type(detector).__name__


def test_weights_that_are_a_module_are_not_saved(images, tmp_path):
    with seeded(0):
        encoder = build_encoder(EncoderSpec("resnet10", 8, "strided", image_size=16))
    detector = clone(EVERY[0]).set_params(weights=encoder, n_epochs=1).fit(images)
    with pytest.raises(TypeError, match=r"the parameter weights is a _Encoder, .* save_encoder, and set weights to"):
        save(detector, tmp_path / "model.skcnf")
    assert not list(tmp_path.iterdir())


# Errors


@every_detector
def test_malformed_input_is_named(detector, fitted, images):
    name = type(detector).__name__
    with pytest.raises(NotFittedError, match=f"This {name} instance is not fitted"):
        clone(detector).score_samples(images)
    for X in (np.zeros((4, 3)), np.zeros(4)):
        for call in (clone(detector).fit, fitted[type(detector)].score_samples):
            with pytest.raises(
                ValueError, match=rf"X has shape \(4,.*; {name} takes images \(n, h, w, 3\) and no feat"
            ):
                call(X)
    with pytest.raises(ValueError, match=r"X is an array of shape .* channels-first images become channels-last"):
        clone(detector).fit(images.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="X holds 1 image; at least 2 are needed"):
        clone(detector).fit(images[:1])
    with pytest.raises(ValueError, match=r"y marks as inliers \(\+1\) 1 image; at least 2"):
        clone(detector).fit(images[:3], [1, -1, -1])
    with pytest.raises(ValueError, match=r"y has shape \(80, 16, 16, 3\); it must hold a label for each image"):
        clone(detector).fit(images, images)
    with pytest.raises(ValueError, match="list"):
        clone(detector).fit(iter(images))


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (RotTransDetector, {"translation": 0.6}, "The 'translation' parameter of RotTransDetector must be a float"),
        (RotTransDetector, {"arch": "vgg"}, "The 'arch' parameter of RotTransDetector must be a str among"),
        (RotTransDetector, {"width": 12}, "width=12 is not a multiple of 8"),
        (CSIDetector, {"temperature": 0.0}, "The 'temperature' parameter of CSIDetector must be a float in the range"),
        (CSIDetector, {"n_views": 0}, "The 'n_views' parameter of CSIDetector must be an int in the range [1, inf)"),
        (CSIDetector, {"score_crop": 1.5}, "The 'score_crop' parameter of CSIDetector must be a float in the range"),
        (CSIDetector, {"device": "abacus"}, "device='abacus' is not a device"),
    ],
)
def test_bad_parameters_are_named(images, cls, params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cls(**{**SMALL, **params}).fit(images)


@every_detector
def test_a_training_that_diverges_leaves_the_detector_as_it_was(detector, fitted, images):
    detector = copy.deepcopy(fitted[type(detector)]).set_params(learning_rate=1e30)
    expected = detector.score_samples(images)
    with pytest.raises(FloatingPointError, match=r"the loss is .* in epoch 1 at learning_rate=1e\+30; lower"):
        detector.fit(images)
    np.testing.assert_array_equal(detector.score_samples(images), expected)
