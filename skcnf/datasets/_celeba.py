"""Read CelebA's two text files, in torchvision's layout.

torchvision's own class wants five text files, boxes and landmarks among them, with the right checksums. These two say
all that is needed here, and reading text runs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["ATTRIBUTES", "IMAGES", "OWN_PARTITION", "PARTITIONS", "read_celeba"]

ATTRIBUTES, PARTITIONS, IMAGES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
OWN_PARTITION = "list_own_partition.txt"  # in place of the published one, for a part of the images
_NUMBERS = {"train": "0", "test": "2"}  # 1 is validation


def read_celeba(folder: Path, attribute: str, partition: str = PARTITIONS) -> dict[str, tuple[list[Path], np.ndarray]]:
    """Return paths and labels of the partitions train and test. A label is 1 where the image has ``attribute``, else 0.

    ``partition`` names the file that says which image belongs where.

    Raises
    ------
    ValueError
        If ``attribute`` is unknown, or a file is cut or malformed.
    """
    has = _read_attribute(folder / ATTRIBUTES, attribute)
    numbers = _read_partitions(folder / partition)
    if has.keys() != numbers.keys():
        odd = min(has.keys() ^ numbers.keys())
        raise ValueError(f"'{folder}': '{odd}' must be both in {ATTRIBUTES} and in {partition}; it is in one alone.")
    parts = {}
    for split, number in _NUMBERS.items():
        names = [name for name in has if numbers[name] == number]
        parts[split] = [folder / IMAGES / name for name in names], np.array([has[name] for name in names], np.int64)
    return parts


def _read_attribute(path: Path, attribute: str) -> dict[str, int]:
    """Return 0 or 1 for each image name.

    The file holds the number of images, the names of the attributes, and for each image a line of -1 and 1.
    """
    lines = _lines(path)
    if len(lines) < 3 or lines[0].strip() != str(len(lines) - 2):
        raise ValueError(f"'{path}' must begin with its number of images, {max(len(lines) - 2, 0)}; got {lines[:1]}.")
    attributes = lines[1].split()
    if attribute not in attributes:
        raise ValueError(f"attribute={attribute!r} is none of CelebA's; choose from {attributes}.")
    column = attributes.index(attribute) + 1
    has = {}
    for line in lines[2:]:
        name, *values = line.split()
        if len(values) != len(attributes) or values[column - 1] not in ("1", "-1"):
            raise ValueError(f"'{path}': {name} must have 1 or -1 for each of {len(attributes)} attributes: {line!r}.")
        has[name] = int(values[column - 1] == "1")
    return has


def _read_partitions(path: Path) -> dict[str, str]:
    rows = [line.split() for line in _lines(path)]
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise ValueError(f"'{path}': a line must be an image's name and 0, 1 or 2; got {' '.join(row)!r}.")
    return dict(rows)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
