import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from skcnf import MocoFeaturizer
from skcnf._core.generators import seeded
from skcnf._core.row_files import RowFile
from skcnf.moco import EncoderSpec, build_encoder, save_encoder


@pytest.fixture(scope="module")
def encoder():
    with seeded(0):
        return build_encoder(EncoderSpec("resnet10", width=8, stem="strided", out_features=16, image_size=32)).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "deeper").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save((folder / "deeper" if number > 2 else folder) / f"{'z' * (number > 2)}{number}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


class _Dataset(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_every_kind_of_input_gives_the_same_features(encoder, images, folder, tmp_path):
    featurizer = MocoFeaturizer(encoder).fit(images)
    expected = featurizer.transform(images)
    pil = [Image.fromarray(image) for image in images]
    paths = [*sorted(folder.glob("*.png")), *sorted(folder.glob("deeper/*.png"))]
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number, path in enumerate(paths):
            file.write(path, f"{number}.png")
        file.writestr("notes.txt", "not an image")
    read_only = images.copy()
    read_only.flags.writeable = False
    kinds = {
        "read-only": read_only,
        "list of arrays": list(images),
        "PIL": pil,
        "paths": paths,
        "names": [str(path) for path in paths],
        "dataset with labels": _Dataset([(image, 0) for image in pil]),
        "dataset of tensors": _Dataset([torch.from_numpy(image).permute(2, 0, 1) for image in images]),
        "zip": archive,
        "memory map": np.asarray(images).view(np.memmap),
    }
    for name, kind in kinds.items():
        np.testing.assert_allclose(featurizer.transform(kind), expected, atol=1e-6, err_msg=name)
        threads = MocoFeaturizer(encoder, n_jobs=2, batch_size=2).fit(images)
        np.testing.assert_allclose(threads.transform(kind), expected, atol=1e-6, err_msg=f"{name}, two threads")
    order = np.argsort([str(path) for path in paths])
    np.testing.assert_allclose(featurizer.transform(folder), expected[order], atol=1e-6)
    np.testing.assert_allclose(featurizer.transform(str(folder)), expected[order], atol=1e-6)


def test_features_are_the_heads_output_of_standardised_images(encoder, images):
    raw = MocoFeaturizer(encoder, normalize=False, batch_size=2).fit_transform(images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        np.testing.assert_allclose(raw, encoder((x - mean) / std), rtol=1e-4, atol=1e-5)
    normalised = MocoFeaturizer(encoder).fit_transform(images)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_bfloat16_is_near_float32_and_of_the_encoder_alone(images):
    seen = set()

    def note(module, _, output):
        seen.add((type(module), output.dtype))

    expected = MocoFeaturizer().fit_transform(images)
    with register_module_forward_hook(note):
        out = MocoFeaturizer(precision="bfloat16").fit(images).transform(images)
    assert (nn.Conv2d, torch.bfloat16) in seen
    assert out.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-6)
    assert 1e-4 < np.linalg.norm(out - expected, axis=1).max() < 0.03


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_features_do_not_hang_on_the_images_beside(images, n_threads, precision):
    X = np.random.default_rng(1).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        featurizer = MocoFeaturizer(device="cpu", precision=precision).fit(X)
        expected = featurizer.transform(X)
        np.testing.assert_array_equal(featurizer.transform(X[37:38]), expected[37:38])
        np.testing.assert_array_equal(featurizer.transform(X[::-1][:41]), expected[::-1][:41])
        featurizer.set_params(batch_size=40, n_jobs=2)
        np.testing.assert_array_equal(featurizer.transform(list(X)), expected)
        np.testing.assert_array_equal(featurizer.transform(iter(X)), expected)
        streamed = [image for batch in featurizer.stream(iter(X), start=3) for image in batch]
    finally:
        torch.set_num_threads(before)
    assert [image.index for image in streamed] == list(range(3, 70))
    np.testing.assert_array_equal(np.stack([image.features for image in streamed]), expected[3:])


def test_a_stream_goes_on_past_what_cannot_be_read(encoder, folder, images):
    paths = [folder / "0.png", folder / "nowhere.png", images[1], folder / "2.png"]
    featurizer = MocoFeaturizer(encoder, batch_size=3).fit(iter(paths))
    streamed = [image for batch in featurizer.stream(paths) for image in batch]
    assert [image.name for image in streamed] == [str(paths[0]), str(paths[1]), "2", str(paths[3])]
    assert [image.features is None for image in streamed] == [False, True, False, False]
    assert [image.error is None for image in streamed] == [True, False, True, True]
    assert "nowhere.png' does not exist" in streamed[1].error
    expected = featurizer.transform(images[:3])
    np.testing.assert_array_equal(np.stack([streamed[k].features for k in (0, 2, 3)]), expected)
    assert [image.error for batch in featurizer.stream([paths[1]]) for image in batch] == [streamed[1].error]
    with pytest.raises(ValueError, match="does not exist"):
        featurizer.transform(iter(paths))
    with pytest.raises(ValueError, match="X holds no image"):
        featurizer.transform(iter([]))
    with pytest.raises(ValueError, match="X is a generator, whose length is unknown; here it must be a list"):
        featurizer.transform_to_file((path for path in paths), "never.npy")


def test_noise_is_a_function_of_image_and_seed(encoder, images):
    noisy = MocoFeaturizer(encoder, noise_std=0.1, random_state=0)
    clean = MocoFeaturizer(encoder).fit_transform(images)
    first = noisy.fit_transform(images)
    np.testing.assert_allclose(noisy.transform(images[[3, 1]]), first[[3, 1]], atol=1e-6)
    np.testing.assert_allclose(noisy.fit_transform(images[::-1])[::-1], first, atol=1e-6)
    other = clone(noisy).set_params(random_state=1).fit_transform(images)
    assert np.abs(other - first).max() > 0.1
    assert (first - clean).std() == pytest.approx(0.1, rel=0.3)
    assert np.abs(np.diff(first - clean, axis=0)).max() > 0.1  # images draw noise of their own


def test_sizes_are_resized_by_the_short_side_and_cropped(encoder):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (32, 96, 3), dtype=np.uint8)
    centre = wide[:, 32:64]
    featurizer = MocoFeaturizer(encoder).fit(wide[None])
    np.testing.assert_allclose(featurizer.transform([wide]), featurizer.transform([centre]), atol=1e-6)
    large = np.repeat(np.repeat(centre, 2, 0), 2, 1)
    mixed = featurizer.transform([large, centre])
    assert mixed.shape == (2, 16)
    assert mixed[0] @ mixed[1] > 0.95  # of unit norm


def test_low_resolution_comes_first(encoder):
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    fine = np.repeat(fine[..., None], 3, -1).astype(np.uint8)
    flat = np.full((64, 64, 3), 128, np.uint8)
    featurizer = MocoFeaturizer(encoder, low_res_size=8, image_size=64).fit(fine[None])
    np.testing.assert_allclose(*featurizer.transform(np.stack([fine, flat])), atol=0.02)
    plain = MocoFeaturizer(encoder, image_size=64).fit_transform(np.stack([fine, flat]))
    assert np.abs(plain[0] - plain[1]).max() > 0.1


def test_any_mode_becomes_upright_rgb_over_white(encoder, tmp_path):
    grey = np.linspace(0, 255, 32 * 32).astype(np.uint8).reshape(32, 32)
    colour = np.stack([grey, grey.T, 255 - grey], -1)
    featurizer = MocoFeaturizer(encoder).fit(colour[None])

    def features(image):
        return featurizer.transform([image])[0]

    three = features(np.repeat(grey[..., None], 3, -1))
    np.testing.assert_allclose(features(Image.fromarray(grey)), three, atol=1e-6)
    np.testing.assert_allclose(features(Image.fromarray(grey.astype(np.uint16) * 257)), three, atol=1e-6)
    alpha = np.where(np.arange(32) < 16, 255, 0).astype(np.uint8)[None, :, None].repeat(32, 0)
    over_white = np.where(alpha > 0, colour, 255).astype(np.uint8)
    rgba = Image.fromarray(np.concatenate([colour, alpha], -1))
    np.testing.assert_allclose(features(rgba), features(over_white), atol=1e-6)
    assert features(Image.fromarray(colour).convert("CMYK")).shape == (16,)
    assert features(Image.fromarray(colour).convert("P")).shape == (16,)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(colour[::-1, ::-1].copy()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(features(tmp_path / "turned.png"), features(colour), atol=1e-6)


def test_the_bundled_encoder_is_the_default(images):
    featurizer = MocoFeaturizer().fit(images)
    assert featurizer.transform(images).shape == (5, 128)
    assert list(featurizer.get_feature_names_out()[:2]) == ["mocofeaturizer0", "mocofeaturizer1"]


def test_weights_from_files(encoder, images, tmp_path):
    save_encoder(encoder, tmp_path / "e.safetensors")
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in encoder.state_dict().items()}}, tmp_path / "e.pt")
    expected = MocoFeaturizer(encoder).fit_transform(images)
    np.testing.assert_array_equal(MocoFeaturizer(tmp_path / "e.safetensors").fit_transform(images), expected)
    np.testing.assert_array_equal(MocoFeaturizer(str(tmp_path / "e.safetensors")).fit_transform(images), expected)


def test_fitted_featurizers_pickle_and_leave_the_module_alone(encoder, images):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    featurizer = MocoFeaturizer(encoder).fit(images)
    loaded = pickle.loads(pickle.dumps(featurizer))
    np.testing.assert_array_equal(loaded.transform(images), featurizer.transform(images))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert clone(featurizer).get_params()["image_size"] is None


@pytest.mark.parametrize(
    ("shape", "dtype", "hint"),
    [
        ((4, 128), np.float32, "looks like features"),
        ((32, 32), np.uint8, "For a grey image pass X[None]"),
        ((32, 3, 32), np.uint8, "expected images"),
        ((32, 32, 4), np.uint8, "expected images"),
        ((32, 32, 3), np.uint8, "pass X[None]"),
        ((4, 32, 32, 4), np.uint8, "RGBA images become RGB by X[..., :3]"),
        ((4, 3, 32, 32), np.uint8, "X.transpose(0, 2, 3, 1)"),
        ((4, 32, 32, 3), np.float32, "e.g. MocoFeaturizer(intensity=(0, 1)) or --intensity 0,1, or convert"),
        ((4, 32, 32), np.int64, "its values are of type int64; say which of them are black and white"),
        ((4, 32, 32), bool, "its values are of type bool; expected uint8, uint16, or other numbers with intensity"),
        ((0, 32, 32, 3), np.uint8, "holds no image"),
    ],
)
def test_arrays_of_another_kind_are_told_how_to_convert(encoder, shape, dtype, hint):
    with pytest.raises(ValueError, match=re.escape(hint)):
        MocoFeaturizer(encoder).fit(np.zeros(shape, dtype))


def test_bad_files_and_sources_are_named(encoder, images, tmp_path):
    featurizer = MocoFeaturizer(encoder).fit(images)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG but not really")
    with pytest.raises(ValueError, match=re.escape(f"the image file '{broken}' cannot be read")):
        featurizer.transform([broken])
    Image.fromarray(images[0]).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:300])
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "cut.jpg"))):
        featurizer.transform([tmp_path / "cut.jpg"])
    with pytest.raises(ValueError, match="does not exist"):
        featurizer.transform([Path("nowhere.png")])
    with pytest.raises(ValueError, match="does not exist; give a folder"):
        featurizer.transform(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image file"):
        featurizer.transform(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"Use X.numpy\(\)"):
        featurizer.transform(torch.zeros(1, 32, 32, 3))
    with pytest.raises(ValueError, match="image 1 of X is a ndarray of shape"):
        featurizer.transform([images[0], np.zeros((32, 32, 4), np.uint8)])
    with pytest.raises(ValueError, match="X is a int"):
        featurizer.transform(3)


def test_bad_weights_and_devices_leave_it_unfitted(images):
    cases = [
        (
            {"weights": "tinyimagnet32"},
            "weights='tinyimagnet32' is neither a bundled encoder (tinyimagenet32), nor an official one (moco_v1_200ep",
        ),
        ({"weights": nn.Flatten(0)}, "must map images (n, 3, s, s) to features (n, d)"),
        ({"device": "cuda:99"}, "CUDA"),
        ({"device": "gpu"}, "device='gpu' is not a device"),
        ({"batch_size": 0}, "batch_size"),
    ]
    for params, message in cases:
        featurizer = MocoFeaturizer(**params)
        with pytest.raises(ValueError, match=re.escape(message)):
            featurizer.fit(images)
        assert not hasattr(featurizer, "encoder_")


def test_an_image_that_cannot_be_read_is_named_by_threads_too(encoder, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG but not really")
    featurizer = MocoFeaturizer(encoder, n_jobs=2).fit(folder)
    with pytest.raises(ValueError, match=f"^the image file '{re.escape(str(broken))}' cannot be read"):
        featurizer.transform([*folder.glob("*.png"), broken])
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(broken, "broken.png")
    with pytest.raises(ValueError, match=r"the image 'broken.png' of '.*images.zip' cannot be read"):
        featurizer.transform(archive)
    archive.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"images.zip' is not a readable zip file"):
        featurizer.transform(archive)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("notes.txt", "not an image")
    with pytest.raises(ValueError, match=r"images.zip' holds no image file"):
        featurizer.transform(archive)


class _Counting(nn.Module):
    """Counts the images it is shown, over all its copies; blank ones only fill a batch up."""

    seen = 0

    def __init__(self, scale=1.0):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x):
        type(self).seen += int((x.flatten(2).std(2) > 0).any(1).sum())
        return x.mean((2, 3)) * self.scale + x.amax((2, 3))


@pytest.fixture
def counting():
    _Counting.seen = 0
    return _Counting()


def test_the_cache_is_keyed_by_content_weights_and_parameters(counting, images, folder, tmp_path):
    def seen(X, weights=counting, **parameters):
        featurizer = MocoFeaturizer(weights, image_size=32, memory=tmp_path, **parameters).fit(X)
        before = _Counting.seen
        out = featurizer.transform(X)
        plain = featurizer.set_params(memory=None).transform(X)
        np.testing.assert_array_equal(out, plain)
        return _Counting.seen - before - len(plain)

    assert seen(images) == 5
    assert seen(images.copy()) == 0
    assert seen(list(images)) == 5  # another kind of source
    assert seen(list(images)) == 0
    assert seen(folder) == 5
    assert seen(folder) == 0
    (folder / "0.png").touch()  # a file that may have changed
    assert seen(folder) == 5
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    assert seen(changed) == 5
    assert seen(images[:4]) == 4
    assert seen(images, _Counting(2.0)) == 5
    assert seen(images, low_res_size=16) == 5
    assert seen(images, normalize=False) == 5
    assert seen(images, precision="bfloat16") == 5
    assert seen(images, noise_std=0.1, random_state=0) == 5
    assert seen(images, noise_std=0.1, random_state=1) == 5
    assert seen(images, noise_std=0.1, random_state=1) == 0
    dataset = _Dataset(list(images))
    assert seen(dataset) == seen(dataset) == 5  # tells nothing without being read


def test_a_grid_search_encodes_every_array_once(counting, tmp_path):
    import sklearn
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    from skcnf import InlierKFold, MSERatioDetector

    rng = np.random.default_rng(0)
    X, A = (rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for n in (24, 40))
    y = np.repeat([1, -1], [16, 8])
    featurizer = MocoFeaturizer(counting, image_size=8, memory=tmp_path)
    with sklearn.config_context(enable_metadata_routing=True):
        steps = [("moco", featurizer), ("mse", MSERatioDetector(random_state=0))]
        pipeline = Pipeline(steps, transform_input=["X_aux"])
        grid = {"mse__contamination": [0.1, 0.2, 0.3]}
        search = GridSearchCV(pipeline, grid, cv=InlierKFold(2, random_state=0), scoring="roc_auc")
        search.fit(X, y, X_aux=(A,))
    # X_aux once (40); per fold its training inliers and its test rows (8 + 12); the refit's X (24)
    assert _Counting.seen == 40 + 2 * (8 + 12) + 24


def test_features_stream_to_a_file_and_a_killed_run_goes_on(encoder, folder, images, tmp_path):
    file = tmp_path / "x.npy"
    X = np.concatenate([images] * 3)
    featurizer = MocoFeaturizer(encoder, batch_size=4).fit(X)
    expected = featurizer.transform(X)
    whole = featurizer.transform_to_file(X, tmp_path / "whole.npy")
    np.testing.assert_array_equal(whole, expected)
    assert isinstance(whole, np.memmap)

    class Cut(Exception):
        pass

    def cut_after(n_batches):
        """The same featurizer, killed as it begins batch ``n_batches``."""
        calls = iter(range(n_batches))

        def hook(*_):
            if next(calls, None) is None:
                raise Cut

        return featurizer.encoder_.register_forward_pre_hook(hook)

    for n_batches, rows in ((2, 8), (1, 12)):  # cut twice
        handle = cut_after(n_batches)
        with pytest.raises(Cut):
            featurizer.transform_to_file(X, file)
        handle.remove()
        assert not file.exists()
        assert f'"rows": {rows}' in (tmp_path / "x.npy.part.json").read_text()
    handle = cut_after(1)  # the one batch that is left
    featurizer.transform_to_file(X, file)
    handle.remove()
    assert file.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.npy", "x.npy"]


def test_a_run_of_other_images_or_parameters_starts_afresh(encoder, images, tmp_path):
    file = tmp_path / "x.npy"
    featurizer = MocoFeaturizer(encoder, batch_size=2).fit(images)
    for change in ("images", "parameters", "junk"):
        with RowFile(file, (5, 16), "float32", "another run") as rows:
            rows.append(np.full((4, 16), 7, np.float32))
        if change == "junk":
            (tmp_path / "x.npy.part.json").write_text("{")
        out = featurizer.transform_to_file(images, file)
        np.testing.assert_array_equal(out, featurizer.transform(images))


_KILLED = """
import sys, time
import numpy as np, torch
from skcnf import MocoFeaturizer
torch.set_num_threads(1)
X = np.random.default_rng(0).integers(0, 256, (320, 32, 32, 3), dtype=np.uint8)
MocoFeaturizer(batch_size=16).fit(X).transform_to_file(X, sys.argv[1])
"""


def test_a_process_killed_in_mid_run_resumes_byte_for_byte(tmp_path):
    file, log = tmp_path / "x.npy", tmp_path / "x.npy.part.json"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, "-c", _KILLED, file], env=environment)
    while not log.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert log.exists()
    assert not file.exists()
    X = np.random.default_rng(0).integers(0, 256, (320, 32, 32, 3), dtype=np.uint8)
    featurizer = MocoFeaturizer(batch_size=16).fit(X)
    featurizer.transform_to_file(X, file)
    featurizer.transform_to_file(X, tmp_path / "whole.npy")
    assert file.read_bytes() == (tmp_path / "whole.npy").read_bytes()
