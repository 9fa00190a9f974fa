"""Make the kept figures of README and gallery, docs/results/figures, and note what they were made from.

Run from the repository's root after the bundled features or table 1 have changed; takes some minutes. Figures 4, 6, 7
and 8 show images, which do not come with the package; without ``--images`` they stay as they are::

    python tools/figures.py --images data/cifar10.zip
    python tools/figures.py --only start.png
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "results" / "figures"
_FEATURES = "skcnf/datasets/bundled/cifar10-features.npz"
# From the figure to the script that draws it and the files whose content it shows.
FIGURES = {
    "start.png": ("plot_flow_and_contrast.py", [_FEATURES, "docs/results/paper/table1.csv"]),
    "figure1.png": ("plot_figure1_histograms.py", [_FEATURES]),
    "figure3.png": ("plot_figure3_difference_density.py", []),
    **{f"figure{n}.png": ("plot_ranked_images.py", [_FEATURES]) for n in (4, 6, 7, 8)},
}
_OF_IMAGES = "plot_ranked_images.py"  # writes four figures at once


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the kept figures of README and gallery.")
    parser.add_argument("--only", choices=FIGURES, help="one of them, or those that its script makes with it")
    parser.add_argument("--images", help="the zip of CIFAR-10's images, for figures 4, 6, 7 and 8")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    wanted = {FIGURES[figure][0] for figure in ([args.only] if args.only else FIGURES)}
    if _OF_IMAGES in wanted and args.images is None:
        print("figures 4, 6, 7 and 8 stay as they are: --images was not given")
        wanted.remove(_OF_IMAGES)
    for script in sorted(wanted):
        make([figure for figure in FIGURES if FIGURES[figure][0] == script], script, args.images)


def make(figures: list[str], script: str, images: str | None) -> None:
    """Run a script, and keep its figures with what it printed and the checksums of what they show."""
    options = [images, "--all", "--output", FOLDER] if script == _OF_IMAGES else ["--output", FOLDER / figures[0]]
    command = [sys.executable, f"examples/{script}", *map(str, options)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line for line in output.splitlines() if not line.startswith("written:")]
    for figure in figures:
        text = "\n".join([*lines, *sources(figure), ""])
        (FOLDER / figure).with_suffix(".txt").write_text(text, encoding="utf-8")


def sources(figure: str, root: Path = ROOT) -> list[str]:
    """A line for each file that the figure shows, with its SHA-256."""
    return [f"from {hashlib.sha256((root / name).read_bytes()).hexdigest()} {name}" for name in FIGURES[figure][1]]


if __name__ == "__main__":
    main()
