"""Loaders of labelled images: torchvision's files on disk, this project's zips of sheets, folders of classes."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skcnf._core.progress import progress_bar
from skcnf.datasets._celeba import ATTRIBUTES, IMAGES, OWN_PARTITION, PARTITIONS, read_celeba
from skcnf.datasets._cifar100 import CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, superclass_labels
from skcnf.datasets._features import CIFAR10_CLASSES
from skcnf.datasets._labelled import LabelledImages
from skcnf.images import archive_members, read_sheets

__all__ = ["IMAGE_DATASETS", "DataNotFoundError", "load_image_dataset", "load_image_folder"]

_CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_SVHN_PAGE = "http://ufldl.stanford.edu/housenumbers/"
_CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_IMAGENET_PAGE = "https://www.image-net.org/download.php"
_CIFAR10_FOLDERS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Gives the names of splits one by one, and shows a progress bar meanwhile.
SplitProgress = Callable[[Sequence[str]], Iterable[str]]
Split = tuple[Any, np.ndarray | None]  # images and labels, both None where the split is not at hand
_NO_SPLIT: Split = (None, None)


class DataNotFoundError(FileNotFoundError):
    """The files of a data set are not where they were looked for."""


def load_image_dataset(
    name: str, root: str | os.PathLike[str], *, attribute: str = "Male", verbose: bool = False
) -> LabelledImages:
    """Load a data set of the paper from files at hand. Nothing is downloaded.

    Parameters
    ----------
    name : {"cifar10", "cifar100", "cifar100-superclasses", "svhn", "celeba", "imagenet"}
        "cifar100" has the 100 fine classes, "cifar100-superclasses" the 20 of `CIFAR100_SUPERCLASSES`.
    root : path
        The folder that holds torchvision's ``cifar-10-batches-py``, ``cifar-100-python``, ``train_32x32.mat`` and
        ``test_32x32.mat`` (SVHN), ``celeba`` (``img_align_celeba``, ``list_attr_celeba.txt``,
        ``list_eval_partition.txt``), ``train`` and ``val`` with a folder for each WordNet id (ImageNet), or, where the
        folders of CIFAR are not there, the zips of sheets ``cifar10.zip``, ``cifar100-train.zip`` and
        ``cifar100-test.zip``.
    attribute : str, default="Male"
        An attribute of CelebA, which parts its images into those without it and those with it. Other data sets ignore
        it.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    LabelledImages
        Arrays, but lists of paths for CelebA and ImageNet. A split of CIFAR's zips, of SVHN or of ImageNet that is not
        at hand is None. Test images are ImageNet's ``val``, and CelebA's partition 2. Where CelebA's published
        partition is not there but ``list_own_partition.txt`` is, in the same format, the latter is taken, and ``note``
        says so.

    Raises
    ------
    DataNotFoundError
        If the files are not there; the message says what was looked for, and where to get it.
    ValueError
        If ``name`` or ``attribute`` is unknown, or a file is cut, malformed or not the original.

    Examples
    --------
    >>> from skcnf.datasets import load_image_dataset
    >>> load_image_dataset("svhn", "no-such-folder")
    Traceback (most recent call last):
        ...
    skcnf.datasets...DataNotFoundError: SVHN: ... not there; get it from http://ufldl.stanford.edu/housenumbers/
    """
    if name not in IMAGE_DATASETS:
        raise ValueError(f"name={name!r} is no data set; choose from {list(IMAGE_DATASETS)}.")
    track = partial(progress_bar, desc=name, unit="split", verbose=verbose)
    options = {"attribute": attribute} if name == "celeba" else {}
    return _READERS[name](Path(root).expanduser(), track, **options)


def load_image_folder(root: str | os.PathLike[str], name: str | None = None) -> LabelledImages:
    """Find the images of ``root/train/CLASS/...`` and ``root/test/CLASS/...``. They stay on disk.

    Parameters
    ----------
    root : path
    name : str, optional
        What to call it in tables; the folder's name by default.

    Returns
    -------
    LabelledImages
        Lists of paths, sorted by class and path, and the classes in alphabetical order.

    Raises
    ------
    DataNotFoundError
        If one of the folders is missing, or a class in it holds no image.
    ValueError
        If the classes of the two differ.

    Examples
    --------
    >>> from skcnf.datasets import load_image_folder
    >>> images = load_image_folder("my_data")  # doctest: +SKIP
    """
    root = Path(root).expanduser()
    return _from_folders({"train": root / "train", "test": root / "test"}, name or root.resolve().name)


def _cifar10(root: Path, track: SplitProgress) -> LabelledImages:
    from torchvision.datasets import CIFAR10

    train, test = _cifar("CIFAR-10", CIFAR10, root, ("cifar10.zip",), _CIFAR10_FOLDERS, track)
    return LabelledImages(*train, *test, class_names=CIFAR10_CLASSES, name="CIFAR-10")


def _cifar100(root: Path, track: SplitProgress) -> LabelledImages:
    from torchvision.datasets import CIFAR100

    zips = ("cifar100-train.zip", "cifar100-test.zip")
    train, test = _cifar("CIFAR-100", CIFAR100, root, zips, CIFAR100_CLASSES, track)
    return LabelledImages(*train, *test, class_names=CIFAR100_CLASSES, name="CIFAR-100")


def _cifar100_superclasses(root: Path, track: SplitProgress) -> LabelledImages:
    fine = _cifar100(root, track)
    y_train, y_test = (None if y is None else superclass_labels(y) for y in (fine.y_train, fine.y_test))
    names = tuple(CIFAR100_SUPERCLASSES)
    return dataclasses.replace(fine, y_train=y_train, y_test=y_test, class_names=names, name="CIFAR-100 superclasses")


def _cifar(
    title: str, cls: Any, root: Path, zips: Sequence[str], classes: Sequence[str], track: SplitProgress
) -> list[Split]:
    folder = root / cls.base_folder
    if not folder.is_dir():
        present = [root / name for name in zips if (root / name).is_file()]
        if not present:
            raise _not_found(title, [folder, *(root / name for name in zips)], _CIFAR_PAGE, either=True)
        return _read_zips(present, classes, track)
    names = [*(name for name, _ in (*cls.train_list, *cls.test_list)), cls.meta["filename"]]
    missing = [folder / name for name in names if not (folder / name).is_file()]
    if missing:
        raise _not_found(title, missing, _CIFAR_PAGE)
    splits: list[Split] = []
    for split in track(("train", "test")):
        images = _original(title, cls, root, folder, _CIFAR_PAGE, train=split == "train")
        splits.append((np.ascontiguousarray(images.data), np.array(images.targets, dtype=np.int64)))
    return splits


def _read_zips(paths: Sequence[Path], classes: Sequence[str], track: SplitProgress) -> list[Split]:
    """Read the splits train and test of zips of sheets, with labels as indices into ``classes``."""
    held = {path: {name.split("/")[0] for name in archive_members(path)} for path in paths}
    splits: list[Split] = []
    for split in track(("train", "test")):
        holders = [path for path in paths if split in held[path]]
        if len(holders) > 1:
            raise ValueError(f"'{holders[0]}' and '{holders[1]}' both hold the split {split!r}; one of them must not.")
        splits.append(_read_split(holders[0], split, classes) if holders else _NO_SPLIT)
    return splits


def _read_split(path: Path, split: str, classes: Sequence[str]) -> Split:
    images, folders = read_sheets(path, split)
    present, inverse = np.unique(folders, return_inverse=True)
    unknown = sorted(set(present.tolist()) - set(classes))
    if unknown:
        raise ValueError(f"'{path}': its folders must be classes, as {list(classes[:3])}; got {unknown[:3]}.")
    return images, np.array([classes.index(name) for name in present], dtype=np.int64)[inverse]


def _svhn(root: Path, track: SplitProgress) -> LabelledImages:
    from torchvision.datasets import SVHN

    paths = {split: root / SVHN.split_list[split][1] for split in ("train", "test")}
    if not any(path.is_file() for path in paths.values()):
        raise _not_found("SVHN", list(paths.values()), _SVHN_PAGE)
    splits: dict[str, Split] = {}
    for split in track([split for split in paths if paths[split].is_file()]):
        images = _original("SVHN", SVHN, root, paths[split], _SVHN_PAGE, split=split)
        splits[split] = np.ascontiguousarray(images.data.transpose(0, 2, 3, 1)), images.labels.astype(np.int64)
    train, test = (splits.get(split, _NO_SPLIT) for split in ("train", "test"))
    return LabelledImages(*train, *test, class_names=tuple(map(str, range(10))), name="SVHN")


def _original(title: str, cls: Any, root: Path, where: Path, page: str, **split: Any) -> Any:
    """Load one split of a torchvision data set.

    torchvision unpickles CIFAR's files, and a pickle can run anything. What makes it safe is that the constructor first
    compares every file with the MD5 of the original, and raises a RuntimeError where they differ: making another file
    of a given MD5 is out of reach. So these files must never be read in another way.
    """
    with warnings.catch_warnings():
        # NumPy 2.4.0 to 2.4.4 call pickles as old as CIFAR's deprecated (numpy issue 30786)
        warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
        try:
            return cls(root, **split)
        except RuntimeError as error:
            raise ValueError(
                f"{title}: the files at '{where}' are not whole or not the originals (their checksums differ); "
                f"get them from {page}"
            ) from error


def _celeba(root: Path, track: SplitProgress, attribute: str = "Male") -> LabelledImages:
    folder = root / "celeba"
    own = not (folder / PARTITIONS).exists() and (folder / OWN_PARTITION).exists()
    partition = OWN_PARTITION if own else PARTITIONS
    missing = [folder / name for name in (ATTRIBUTES, partition, IMAGES) if not (folder / name).exists()]
    if missing:
        raise _not_found("CelebA", missing, _CELEBA_PAGE)
    parts = read_celeba(folder, attribute, partition)
    first = [paths[0] for paths, _ in parts.values() if paths and not paths[0].is_file()]
    if first:
        raise _not_found("CelebA", first, _CELEBA_PAGE)
    classes = ("female", "male") if attribute == "Male" else (f"not {attribute}", attribute)
    note = ""
    if own:
        counts = [len(paths) for paths, _ in parts.values()]
        note = f"CelebA: not the published partition but {counts[0]:,} images to train and {counts[1]:,} to test"
    return LabelledImages(*parts["train"], *parts["test"], class_names=classes, name="CelebA", note=note)


def _imagenet(root: Path, track: SplitProgress) -> LabelledImages:
    folders = {"train": root / "train", "test": root / "val"}
    named = {split: path for split, path in folders.items() if _has_wordnet_folders(path)}
    if not named:
        wanted = [path / "nNNNNNNNN" for path in folders.values()]
        raise _not_found("ImageNet (a folder of images for each WordNet id)", wanted, _IMAGENET_PAGE)
    return _from_folders(named, "ImageNet", track)


def _has_wordnet_folders(path: Path) -> bool:
    return path.is_dir() and any(re.fullmatch(r"n\d{8}", entry.name) and entry.is_dir() for entry in path.iterdir())


def _from_folders(folders: dict[str, Path], name: str, track: SplitProgress = iter) -> LabelledImages:
    """Find the images below a folder of classes for "train", for "test", or for both."""
    found = {split: _scan(folders[split], name) for split in track(list(folders))}
    classes = [part.classes for part in found.values()]
    if classes[0] != classes[-1]:
        odd = sorted(set(classes[0]) ^ set(classes[-1]))
        raise ValueError(f"{name}: {' and '.join(folders)} must have the same classes; only one has {odd[:10]}.")
    train, test = (_paths_and_labels(found[split]) if split in found else _NO_SPLIT for split in ("train", "test"))
    return LabelledImages(*train, *test, class_names=tuple(classes[0]), name=name)


def _paths_and_labels(folder: Any) -> Split:
    # paths, not the ImageFolder: a featurizer's cache knows them by content, and turns them upright
    return [Path(path) for path, _ in folder.samples], np.array(folder.targets, dtype=np.int64)


def _scan(path: Path, name: str) -> Any:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(path))
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{name}: '{path}' must be a folder with a folder of images for each class: {error}"
        ) from error


def _not_found(title: str, wanted: list[Path], page: str, either: bool = False) -> DataNotFoundError:
    paths = (" or " if either else ", ").join(f"'{path}'" for path in wanted)
    return DataNotFoundError(f"{title}: {paths} not there; get it from {page}")


_READERS: dict[str, Callable[..., LabelledImages]] = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "cifar100-superclasses": _cifar100_superclasses,
    "svhn": _svhn,
    "celeba": _celeba,
    "imagenet": _imagenet,
}
IMAGE_DATASETS = tuple(_READERS)
