import hashlib
import io
import os
import pickle
import runpy
import struct
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch import nn
from torchvision import datasets as tv

from skcnf import MocoFeaturizer
from skcnf.datasets import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    CIFAR100_SUPERCLASSES,
    IMAGE_DATASETS,
    DataNotFoundError,
    LabelledImages,
    featurize_images,
    flatten_images,
    load_image_dataset,
    load_image_folder,
)

N = 6
SHEET_FOLDERS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _pixels(seed, n=N):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def _md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


class _Python2Pickler(pickle._Pickler):
    """Writes byte strings and 0/1 flags as Python 2 did, which CIFAR's files were written by."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data)

    def save_flag(self, value):
        self.write(b"K" + bytes([value]))

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[bool] = save_flag


def _pickle_as_python2(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)


def _write_batch(path, images, **labels):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)  # channels first, flattened
    content = {"data": rows, **{key: [int(label) for label in values] for key, values in labels.items()}}
    _pickle_as_python2(path, content)


def test_the_batches_of_these_tests_are_as_the_real_ones(tmp_path):
    _write_batch(tmp_path / "batch", _pixels(0), labels=[3])
    batch = pickle.loads((tmp_path / "batch").read_bytes(), encoding="bytes")
    assert set(batch) == {b"data", b"labels"}
    assert batch[b"data"].shape == (N, 3072)
    assert batch[b"data"].dtype == np.uint8


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        _write_batch(folder / name, _pixels(seed), labels=(np.arange(N) + seed) % 10)
    _pickle_as_python2(folder / "batches.meta", {"label_names": list(SHEET_FOLDERS)})
    monkeypatch.setattr(tv.CIFAR10, "train_list", [[name, _md5(folder / name)] for name in names[:5]])
    monkeypatch.setattr(tv.CIFAR10, "test_list", [["test_batch", _md5(folder / "test_batch")]])
    monkeypatch.setitem(tv.CIFAR10.meta, "md5", _md5(folder / "batches.meta"))
    return tmp_path


def test_cifar10_as_torchvision_stores_it(cifar10, capsys):
    images = load_image_dataset("cifar10", str(cifar10), verbose=True)
    np.testing.assert_array_equal(images.X_train, np.concatenate([_pixels(seed) for seed in range(5)]))
    np.testing.assert_array_equal(images.y_train, np.concatenate([np.arange(N) + seed for seed in range(5)]) % 10)
    np.testing.assert_array_equal(images.X_test, _pixels(5))
    np.testing.assert_array_equal(images.y_test, (np.arange(N) + 5) % 10)
    assert images.X_train.dtype == np.uint8
    assert images.y_train.dtype == np.int64
    assert (images.class_names, images.name) == (CIFAR10_CLASSES, "CIFAR-10")
    assert capsys.readouterr().err == ""  # no bar in a log


class _Hostile:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_3", "test_batch", "batches.meta"])
def test_a_hostile_pickle_is_refused_before_it_runs(cifar10, name):
    trace = cifar10 / "was-run"
    pickle.loads(pickle.dumps(_Hostile(trace)))
    trace.rmdir()  # the bait works
    (cifar10 / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(_Hostile(trace)))
    with pytest.raises(
        ValueError, match=r"CIFAR-10: the files at .* not the originals .* get them from https://www.cs"
    ):
        load_image_dataset("cifar10", cifar10)
    assert not trace.exists()


def test_a_missing_batch_is_named(cifar10):
    (cifar10 / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(DataNotFoundError, match=r"data_batch_4' not there"):
        load_image_dataset("cifar10", cifar10)


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    _write_batch(folder / "train", _pixels(0), fine_labels=[0, 1, 2, 3, 99, 50], coarse_labels=[4, 1, 14, 8, 13, 16])
    _write_batch(folder / "test", _pixels(1), fine_labels=[5] * N, coarse_labels=[6] * N)
    _pickle_as_python2(folder / "meta", {"fine_label_names": list(CIFAR100_CLASSES)})
    for split in ("train", "test"):
        monkeypatch.setattr(tv.CIFAR100, f"{split}_list", [[split, _md5(folder / split)]])
    monkeypatch.setitem(tv.CIFAR100.meta, "md5", _md5(folder / "meta"))
    return tmp_path


def test_cifar100_has_a_hundred_classes_or_twenty(cifar100):
    fine = load_image_dataset("cifar100", cifar100)
    np.testing.assert_array_equal(fine.X_train, _pixels(0))
    np.testing.assert_array_equal(fine.X_test, _pixels(1))
    assert fine.y_train.tolist() == [0, 1, 2, 3, 99, 50]
    assert (fine.class_names, fine.name) == (CIFAR100_CLASSES, "CIFAR-100")
    coarse = load_image_dataset("cifar100-superclasses", cifar100)
    np.testing.assert_array_equal(coarse.X_train, _pixels(0))
    assert coarse.y_train.tolist() == [4, 1, 14, 8, 13, 16]  # the file's own coarse labels
    assert coarse.y_test.tolist() == [6] * N
    assert (coarse.class_names, coarse.name) == (tuple(CIFAR100_SUPERCLASSES), "CIFAR-100 superclasses")


# The data set's coarse label of each fine label, as its files pair them: an independent copy of the table.
COARSE = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13 14 17 18
10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17
8 14 13"""


def test_superclasses_part_the_hundred_classes():
    assert len(CIFAR100_SUPERCLASSES) == 20
    assert list(CIFAR100_SUPERCLASSES) == sorted(CIFAR100_SUPERCLASSES)
    assert {len(members) for members in CIFAR100_SUPERCLASSES.values()} == {5}
    assert len(set(CIFAR100_CLASSES)) == 100
    names = list(CIFAR100_SUPERCLASSES)
    for fine, coarse in zip(CIFAR100_CLASSES, map(int, COARSE.split()), strict=True):
        assert fine in CIFAR100_SUPERCLASSES[names[coarse]]


def _zip_of_sheets(path, split, classes):
    with zipfile.ZipFile(path, "a") as archive:
        for seed, name in enumerate(classes):
            sheet = _pixels(seed, 4).reshape(2, 2, 32, 32, 3).swapaxes(1, 2).reshape(64, 64, 3)
            data = io.BytesIO()
            Image.fromarray(sheet).save(data, "webp", lossless=True)
            archive.writestr(f"{split}/{name}/00-3.webp", data.getvalue())


def test_a_zip_of_sheets_may_hold_one_split(tmp_path):
    _zip_of_sheets(tmp_path / "cifar100-test.zip", "test", ["apple", "trout"])
    fine = load_image_dataset("cifar100", tmp_path)
    assert fine.X_train is None
    assert fine.y_train is None
    np.testing.assert_array_equal(fine.X_test, np.concatenate([_pixels(0, 4)[:3], _pixels(1, 4)[:3]]))
    assert [fine.class_names[k] for k in fine.y_test] == ["apple"] * 3 + ["trout"] * 3
    coarse = load_image_dataset("cifar100-superclasses", tmp_path)
    assert [coarse.class_names[k] for k in coarse.y_test] == ["fruit_and_vegetables"] * 3 + ["fish"] * 3
    data = flatten_images(coarse)
    assert (data.X_train.shape, data.y_train.shape) == ((0, 3072), (0,))
    assert data.X_test.shape == (6, 3072)


def test_a_zip_of_training_sheets_stands_beside_that_of_the_test(tmp_path):
    _zip_of_sheets(tmp_path / "cifar100-train.zip", "train", ["trout", "worm"])
    fine = load_image_dataset("cifar100", tmp_path)  # the test split may be missing
    assert fine.X_test is None
    _zip_of_sheets(tmp_path / "cifar100-test.zip", "test", ["apple"])
    fine = load_image_dataset("cifar100", tmp_path)
    assert [fine.class_names[k] for k in fine.y_train] == ["trout"] * 3 + ["worm"] * 3
    np.testing.assert_array_equal(fine.X_train, np.concatenate([_pixels(0, 4)[:3], _pixels(1, 4)[:3]]))
    np.testing.assert_array_equal(fine.X_test, _pixels(0, 4)[:3])
    coarse = load_image_dataset("cifar100-superclasses", tmp_path)
    assert [coarse.class_names[k] for k in coarse.y_train] == ["fish"] * 3 + ["non-insect_invertebrates"] * 3
    assert [coarse.class_names[k] for k in coarse.y_test] == ["fruit_and_vegetables"] * 3
    _zip_of_sheets(tmp_path / "cifar100-test.zip", "train", ["apple"])
    with pytest.raises(ValueError, match=r"cifar100-train.zip' and '.*cifar100-test.zip' both hold the split 'train'"):
        load_image_dataset("cifar100", tmp_path)


def test_folders_of_a_zip_are_told_by_name_not_by_number(tmp_path):
    _zip_of_sheets(tmp_path / "cifar10.zip", "train", SHEET_FOLDERS)
    _zip_of_sheets(tmp_path / "cifar10.zip", "test", ["automobile", "ship"])
    images = load_image_dataset("cifar10", tmp_path)
    assert images.y_train.tolist() == np.repeat(np.arange(10), 3).tolist()
    assert [images.class_names[k] for k in images.y_test] == ["car"] * 3 + ["ship"] * 3
    _zip_of_sheets(tmp_path / "cifar100-test.zip", "test", ["apple", "unicorn"])
    with pytest.raises(ValueError, match=r"folders must be classes, as \['apple', .*; got \['unicorn'\]"):
        load_image_dataset("cifar100", tmp_path)
    (tmp_path / "cifar10.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cifar10.zip' is not a readable zip file"):
        load_image_dataset("cifar10", tmp_path)


def test_the_original_files_go_before_the_zip(cifar10):
    _zip_of_sheets(cifar10 / "cifar10.zip", "test", ["ship"])
    assert len(load_image_dataset("cifar10", cifar10).X_test) == N


def _write_svhn(root, split, seed, monkeypatch):
    path = root / f"{split}_32x32.mat"
    labels = np.array([10, 1, 2, 3, 9, 10], np.uint8)[:, None]  # SVHN calls the digit 0 "10"
    scipy.io.savemat(path, {"X": _pixels(seed).transpose(1, 2, 3, 0), "y": labels})
    entry = [*tv.SVHN.split_list[split][:2], _md5(path)]
    monkeypatch.setattr(tv.SVHN, "split_list", {**tv.SVHN.split_list, split: entry})
    return path


def test_svhn_may_lack_a_split(tmp_path, monkeypatch):
    path = _write_svhn(tmp_path, "test", 1, monkeypatch)
    images = load_image_dataset("svhn", tmp_path)
    assert images.X_train is None
    np.testing.assert_array_equal(images.X_test, _pixels(1))
    assert images.y_test.tolist() == [0, 1, 2, 3, 9, 0]
    _write_svhn(tmp_path, "train", 0, monkeypatch)
    images = load_image_dataset("svhn", tmp_path)
    np.testing.assert_array_equal(images.X_train, _pixels(0))
    np.testing.assert_array_equal(images.X_test, _pixels(1))
    assert (images.class_names, images.name) == (tuple("0123456789"), "SVHN")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"SVHN: the files at .*test_32x32.mat' are not whole"):
        load_image_dataset("svhn", tmp_path)


CELEBA_NAMES = [f"{number:06d}.jpg" for number in range(1, N + 1)]


@pytest.fixture
def celeba(tmp_path):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(CELEBA_NAMES):
        Image.fromarray(np.full((42, 32, 3), 40 * number, np.uint8)).save(folder / "img_align_celeba" / name)
    lines = [f"{name}  {'1' if row % 2 else '-1'} {'-1' if row % 3 else ' 1'}" for row, name in enumerate(CELEBA_NAMES)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(N), "Male Smiling ", *lines, ""]))
    partition = [f"{name} {number}" for name, number in zip(CELEBA_NAMES, (0, 0, 0, 1, 2, 2), strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join([*partition, ""]))
    return tmp_path


def test_celeba_by_attribute(celeba):
    images = load_image_dataset("celeba", celeba)
    assert (images.class_names, images.name) == (("female", "male"), "CelebA")
    assert [path.name for path in images.X_train] == CELEBA_NAMES[:3]
    assert images.y_train.tolist() == [0, 1, 0]
    assert [path.name for path in images.X_test] == CELEBA_NAMES[4:]  # the fourth is for validation
    assert images.y_test.tolist() == [0, 1]
    smiling = load_image_dataset("celeba", celeba, attribute="Smiling")
    assert smiling.class_names == ("not Smiling", "Smiling")
    assert smiling.y_train.tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"attribute='Hat' is none of CelebA's; choose from \['Male', 'Smiling'\]"):
        load_image_dataset("celeba", celeba, attribute="Hat")
    pixels = flatten_images(images, size=8).X_test * 255  # read from disk
    np.testing.assert_allclose(pixels, np.repeat([[160.0], [200.0]], 192, 1), atol=1)


@pytest.mark.parametrize(
    ("name", "line", "becomes", "message"),
    [
        ("list_attr_celeba.txt", "\n000006.jpg  1 -1\n", "\n", "must begin with its number of images, 5; got"),
        ("list_attr_celeba.txt", "000006.jpg  1 -1", "000006.jpg 1", "000006.jpg must have 1 or -1 for each of 2"),
        ("list_attr_celeba.txt", "000006.jpg  1 -1", "000006.jpg 7 -1", "000006.jpg must have 1 or -1 for each of 2"),
        ("list_eval_partition.txt", "000005.jpg 2", "000005.jpg 3", "and 0, 1 or 2; got '000005.jpg 3'"),
        ("list_eval_partition.txt", "000005.jpg 2\n", "", "'000005.jpg' must be both in"),
    ],
)
def test_a_broken_list_of_celeba_is_refused(celeba, name, line, becomes, message):
    path = celeba / "celeba" / name
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, becomes))
    with pytest.raises(ValueError, match=message):
        load_image_dataset("celeba", celeba)


def test_celeba_by_a_partition_of_our_own_says_so(celeba):
    folder = celeba / "celeba"
    assert load_image_dataset("celeba", celeba).note == ""
    lines = [f"{name} {number}" for name, number in zip(CELEBA_NAMES, (0, 0, 0, 0, 0, 2), strict=True)]
    (folder / "list_own_partition.txt").write_text("\n".join(lines))
    assert len(load_image_dataset("celeba", celeba).X_train) == 3  # the published one goes before
    (folder / "list_eval_partition.txt").unlink()
    images = load_image_dataset("celeba", celeba)
    assert [path.name for path in images.X_train] == CELEBA_NAMES[:5]
    assert [path.name for path in images.X_test] == CELEBA_NAMES[5:]
    assert images.name == "CelebA"
    assert images.note == "CelebA: not the published partition but 5 images to train and 1 to test"
    assert flatten_images(images, size=4).note == images.note


def test_the_tool_makes_what_the_loader_reads(tmp_path, monkeypatch, capsys):
    (tmp_path / "celebA").mkdir()
    for name in CELEBA_NAMES[:4]:
        Image.new("RGB", (8, 10)).save(tmp_path / "celebA" / name)
    rows = [f"{name},{row % 2},{int(row < 3)}" for row, name in enumerate(CELEBA_NAMES)]
    with zipfile.ZipFile(tmp_path / "attributes.csv.zip", "w") as archive:
        archive.writestr("a.csv", "\n".join(["image_id,Male,Smiling", *rows]))
        archive.writestr("__MACOSX/._a.csv", "no table")
    tool = Path(__file__).parents[2] / "tools" / "celeba_subset.py"
    arguments = [tmp_path / "celebA", tmp_path / "attributes.csv.zip", tmp_path / "data", "--n-train", 3]
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, arguments)])
    runpy.run_path(str(tool), run_name="__main__")
    assert "4 images, 3 to train" in capsys.readouterr().out
    images = load_image_dataset("celeba", tmp_path / "data")
    assert images.y_train.tolist() == [0, 1, 0]
    assert images.y_test.tolist() == [1]
    assert load_image_dataset("celeba", tmp_path / "data", attribute="Smiling").y_train.tolist() == [1, 1, 1]
    assert flatten_images(images, size=4).X_test.shape == (1, 48)


def test_celeba_without_its_images_is_not_there(celeba):
    (celeba / "celeba" / "img_align_celeba" / CELEBA_NAMES[0]).unlink()
    with pytest.raises(DataNotFoundError, match=r"CelebA: .*000001.jpg' not there; get it from https://mmlab"):
        load_image_dataset("celeba", celeba)


WORDNET = ("n01440764", "n01443537")


def _folders(root, splits, classes=("cat", "dog"), suffix="png"):
    for split in splits:
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for k in range(2):
                pixels = np.full((20, 30, 3), 100 * number + k, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{k}.{suffix}")
    return root


def test_imagenet_may_lack_a_split(tmp_path):
    images = load_image_dataset("imagenet", _folders(tmp_path, ["train"], WORDNET, "JPEG"))
    assert (images.class_names, images.name) == (WORDNET, "ImageNet")
    assert [path.relative_to(tmp_path).as_posix() for path in images.X_train[1:3]] == [
        "train/n01440764/1.JPEG",
        "train/n01443537/0.JPEG",
    ]
    assert images.y_train.tolist() == [0, 0, 1, 1]
    assert images.X_test is None
    images = load_image_dataset("imagenet", _folders(tmp_path, ["val"], WORDNET, "JPEG"))
    assert images.y_test.tolist() == [0, 0, 1, 1]
    assert images.X_test[0].parent.parent.name == "val"


def test_other_folders_are_not_taken_for_imagenet(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"ImageNet .* not there; get it from https://www.image-net.org"):
        load_image_dataset("imagenet", _folders(tmp_path, ["train", "val"]))


def test_folders_of_classes(tmp_path):
    own = load_image_folder(_folders(tmp_path / "own", ("train", "test")))
    assert (own.name, own.class_names) == ("own", ("cat", "dog"))
    assert own.y_train.tolist() == own.y_test.tolist() == [0, 0, 1, 1]
    assert all(path.parts[-3] == "train" for path in own.X_train)
    values = flatten_images(own, size=4).X_test * 255
    assert values.round().astype(int)[:, 0].tolist() == [0, 1, 100, 101]
    assert load_image_folder(tmp_path / "own", name="mine").name == "mine"


def test_folders_of_classes_that_cannot_be_used(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"nowhere: .*train' must be a folder with a folder of images for each"):
        load_image_folder(tmp_path / "nowhere")
    root = _folders(tmp_path / "own", ("train", "test"))
    (root / "test" / "cow").mkdir()
    with pytest.raises(DataNotFoundError, match="cow"):
        load_image_folder(root)
    Image.new("RGB", (4, 4)).save(root / "test" / "cow" / "0.png")
    with pytest.raises(ValueError, match=r"train and test must have the same classes; only one has \['cow'\]"):
        load_image_folder(root)


@pytest.mark.parametrize(
    ("name", "wanted", "page"),
    [
        ("cifar10", "cifar-10-batches-py' or '.*cifar10.zip'", "https://www.cs.toronto.edu"),
        (
            "cifar100",
            "cifar-100-python' or '.*cifar100-train.zip' or '.*cifar100-test.zip'",
            "https://www.cs.toronto.edu",
        ),
        ("cifar100-superclasses", "cifar-100-python", "https://www.cs.toronto.edu"),
        ("svhn", "train_32x32.mat', '.*test_32x32.mat'", "http://ufldl.stanford.edu"),
        ("celeba", "list_attr_celeba.txt.*list_eval_partition.txt.*img_align_celeba", "https://mmlab.ie.cuhk.edu.hk"),
        ("imagenet", "train.*val", "https://www.image-net.org"),
    ],
)
def test_what_is_missing_is_named_with_where_to_get_it(tmp_path, name, wanted, page):
    with pytest.raises(FileNotFoundError, match=rf"{wanted}.* not there; get it from {page}") as caught:
        load_image_dataset(name, tmp_path)
    assert caught.type is DataNotFoundError


def test_an_unknown_name_is_answered_with_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"name='mnist' is no data set; choose from \['cifar10', .*'imagenet'\]"):
        load_image_dataset("mnist", tmp_path)
    assert IMAGE_DATASETS == ("cifar10", "cifar100", "cifar100-superclasses", "svhn", "celeba", "imagenet")


class _Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


def _toy():
    return LabelledImages(_pixels(0), np.arange(N) % 2, _pixels(1, 4), np.arange(4) % 2, ("a", "b"), "toy")


def test_featurizing_keeps_rows_and_labels_together():
    images = _toy()
    featurizer = MocoFeaturizer(_Mean(), image_size=32, normalize=False, device="cpu")
    data = featurize_images(images, featurizer, X_aux=_pixels(2), features="mean")
    assert (data.name, data.features, data.class_names) == ("toy", "mean", ("a", "b"))
    for part, pixels in ((data.X_train, _pixels(0)), (data.X_test, _pixels(1, 4)), (data.X_aux, _pixels(2))):
        assert part.dtype == np.float32
        centred = (pixels / 255).mean(axis=(1, 2)) - np.array([0.485, 0.456, 0.406])  # ImageNet's, the default
        np.testing.assert_allclose(part, centred / np.array([0.229, 0.224, 0.225]), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(data.y_train, images.y_train)
    np.testing.assert_array_equal(data.y_test, images.y_test)


def test_test_images_alone_are_featurized():
    images = LabelledImages(None, None, _pixels(1), np.zeros(N, int), ("a",), "toy")
    data = featurize_images(images, MocoFeaturizer(_Mean(), image_size=32, device="cpu"))
    assert (data.X_train.shape, data.X_test.shape, data.X_aux) == ((0, 3), (N, 3), None)


def test_pixels_are_in_the_unit_interval(tmp_path):
    flat = flatten_images(_toy(), X_aux=_pixels(2, 5))
    for part, pixels in ((flat.X_train, _pixels(0)), (flat.X_test, _pixels(1, 4)), (flat.X_aux, _pixels(2, 5))):
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, pixels.reshape(len(pixels), -1) / 255, rtol=1e-6)
    assert flat.features == "pixels"
    assert flat.X_train.min() >= 0
    assert flat.X_train.max() <= 1
    assert flatten_images(_toy(), size=8).X_train.shape == (N, 192)
    _folders(tmp_path, ["aux"])
    assert flatten_images(_toy(), X_aux=str(tmp_path / "aux")).X_aux.shape == (4, 3072)  # a folder has no length
    with pytest.raises(ValueError, match="size must be a positive integer; got 0"):
        flatten_images(_toy(), size=0)


class _Undecodable(torch.utils.data.Dataset):
    def __init__(self, **attributes):
        self.__dict__ = attributes

    def __getitem__(self, index):
        raise AssertionError("decoded")

    def __len__(self):
        return 3


def test_labels_of_datasets_are_read_without_decoding():
    dataset = _Undecodable(targets=[0, 1, 1], classes=["x", "y"])
    images = LabelledImages.from_datasets(dataset, dataset, "mine")
    assert images.X_train is dataset
    assert images.y_test.tolist() == [0, 1, 1]
    assert (images.class_names, images.name) == (("x", "y"), "mine")
    # without names of classes, the labels that occur are the names; torch's and "labels" (SVHN's, STL-10's) do as well
    images = LabelledImages.from_datasets(
        _Undecodable(targets=torch.tensor([3, 7, 3])), _Undecodable(labels=np.array([7, 9, 7]))
    )
    assert images.class_names == ("3", "7", "9")
    assert images.y_train.tolist() == [0, 1, 0]
    assert images.y_test.tolist() == [1, 2, 1]


def test_labels_of_datasets_without_targets_come_from_the_items():
    pairs = [("image", 4), ("image", 2)]
    assert LabelledImages.from_datasets(pairs, pairs).y_train.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"test must have targets, or items \(image, label\).*; got a list"):
        LabelledImages.from_datasets(pairs, [1])
    with pytest.raises(ValueError, match=r"the same classes; got \['x'\] and \['z'\]"):
        LabelledImages.from_datasets(
            SimpleNamespace(targets=[0], classes=["x"]), SimpleNamespace(targets=[0], classes=["z"])
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, None, None), "X_train and X_test are both None"),
        ((_pixels(0), None, _pixels(0), np.zeros(N, int)), "X_train and y_train must be None together"),
        ((_pixels(0), np.zeros(N - 1, int), None, None), "X_train holds 6 rows and y_train 5 labels"),
        ((None, None, _pixels(0), np.full(N, 2)), "y_test must be in 0 to 1; it goes from 2 to 2"),
        ((None, None, _pixels(0), np.full(N, -1)), "y_test must be in 0 to 1; it goes from -1 to -1"),
    ],
)
def test_images_and_labels_must_match(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelledImages(*arguments, ("a", "b"), "toy")
