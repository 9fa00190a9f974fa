"""Make the kept figures of README and gallery, docs/results/figures, and note what they were made from.

Run from the repository's root after the bundled features or table 1 have changed; takes a few minutes::

    python tools/figures.py
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
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the kept figures of README and gallery.")
    parser.add_argument("--only", choices=FIGURES, help="one of them")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for figure in [args.only] if args.only else FIGURES:
        script = FIGURES[figure][0]
        command = [sys.executable, f"examples/{script}", "--output", str(FOLDER / figure)]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        lines = [line for line in output.splitlines() if not line.startswith("written:")]
        Path(FOLDER / figure).with_suffix(".txt").write_text(
            "\n".join([*lines, *sources(figure), ""]), encoding="utf-8"
        )


def sources(figure: str, root: Path = ROOT) -> list[str]:
    """A line for each file that the figure shows, with its SHA-256."""
    return [f"from {hashlib.sha256((root / name).read_bytes()).hexdigest()} {name}" for name in FIGURES[figure][1]]


if __name__ == "__main__":
    main()
