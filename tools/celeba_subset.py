"""Some of CelebA's aligned images, with attributes and a partition of our own, as `load_image_dataset` reads them.

    python tools/celeba_subset.py IMAGES ATTRIBUTES DEST [--n-train 8000]

IMAGES is a folder of NNNNNN.jpg. ATTRIBUTES is CelebA's table of attributes as CSV (0 and 1, or -1 and 1), or a zip of
one; rows of other images are left out. DEST/celeba gets links to the images (copies where the system has no links), the
two text files that the loader wants, and ``list_own_partition.txt``: the images numbered 1 to N_TRAIN are for training,
the others for the test.
"""

import argparse
import os
import shutil
import zipfile
from pathlib import Path

import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("attributes", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--n-train", type=int, default=8000)
    args = parser.parse_args()
    images = {path.name: path for path in sorted(args.images.glob("*.jpg"))}
    table = read_attributes(args.attributes)
    table = table[table.index.isin(images)]
    missing = sorted(images.keys() - set(table.index))
    if missing or not images:
        parser.error(f"{len(images)} images in '{args.images}'; {len(missing)} have no attributes: {missing[:3]}")
    folder = args.destination / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    for name, path in images.items():
        place(path, folder / "img_align_celeba" / name)
    write_lists(folder, table, args.n_train)
    print(f"{folder}: {len(table)} images, {sum(number_of(name) <= args.n_train for name in table.index)} to train")


def read_attributes(path: Path) -> pd.DataFrame:
    """-1 and 1, a row an image and a column an attribute."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".csv") and "__MACOSX" not in name)
            with archive.open(name) as file:
                table = pd.read_csv(file, index_col=0)
    else:
        table = pd.read_csv(path, index_col=0)
    return table.where(table == 1, -1).sort_index()


def place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        shutil.copyfile(source, target)


def number_of(name: str) -> int:
    return int(name.split(".")[0])


def write_lists(folder: Path, table: pd.DataFrame, n_train: int) -> None:
    """In the formats of CelebA's own lists; partition 0 is training, 2 the test."""
    lines = [f"{name} {' '.join(map(str, row))}" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(table)), " ".join(table.columns), *lines, ""]))
    parts = [f"{name} {0 if number_of(name) <= n_train else 2}\n" for name in table.index]
    (folder / "list_own_partition.txt").write_text("".join(parts))


if __name__ == "__main__":
    main()
