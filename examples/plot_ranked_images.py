"""
The most and the least normal images (figures 4, 6, 7, 8)
=========================================================

Which test images a detector finds most normal, and which least.

Each row is a class of CIFAR-10 as the inliers. Figure 6 has the inlier images of the highest scores (typical ones),
figure 7 those of the lowest (odd ones: unusual views, crops and colours), figure 8 the images of other classes that
score highest: what the detector mistakes for an inlier should look like one. Figure 4 has three of each. The paper
speaks of anomaly scores, which are high where ours are low.

The features come with the package, the images do not: they are read from a zip of lossless sheets (WebP files named
``test/CLASS/NN-COUNT.webp``, each with COUNT images of 32 px as tiles, row by row), in the order in which they were
featurised. About half a minute a class on one core::

    python examples/plot_ranked_images.py cifar10.zip --classes deer ship --output figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from skcnf import ContrastiveFlowDetector
from skcnf.datasets import CIFAR10_CLASSES, load_cifar10_features, read_sheets
from skcnf.display import RankedImagesDisplay

FIGURES = {
    "figure4": (3, ("highest_inliers", "highest_anomalies", "lowest_inliers")),
    "figure6": (10, ("highest_inliers",)),
    "figure7": (10, ("lowest_inliers",)),
    "figure8": (10, ("highest_anomalies",)),
}


def read_test_images(path, y_test):
    """Images in the order of the bundled test features; the names of their folders sort as CIFAR-10's indices."""
    images, labels = read_sheets(path, "test")
    if not np.array_equal(np.unique(labels, return_inverse=True)[1], y_test):
        raise SystemExit(f"{path} does not hold the CIFAR-10 test images in the order of the bundled features.")
    return images


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", metavar="CIFAR10_ZIP")
    parser.add_argument(
        "--classes", nargs="+", choices=CIFAR10_CLASSES, default=["deer", "ship"], help="inlier classes"
    )
    parser.add_argument("--all", action="store_true", help="each of the ten classes")
    parser.add_argument("--max-epochs", type=int, default=20, help="of the flow, which stops by itself earlier")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder")
    args = parser.parse_args()

    data = load_cifar10_features()
    images = read_test_images(args.images, data.y_test)
    rows = {}
    for name in CIFAR10_CLASSES if args.all else args.classes:
        number = CIFAR10_CLASSES.index(name)
        detector = ContrastiveFlowDetector(max_epochs=args.max_epochs, random_state=0, verbose=True)
        detector.fit(data.X_train[data.y_train == number], X_aux=data.X_aux)
        rows[name] = detector.score_samples(data.X_test), np.where(data.y_test == number, 1, -1)
        print(f"{name}: fitted, {detector.best_epoch_} epochs kept")

    args.output.mkdir(parents=True, exist_ok=True)
    for figure, (n, groups) in FIGURES.items():
        display = RankedImagesDisplay.from_rows(images, rows, n=n, groups=groups)
        display.figure_.savefig(args.output / f"{figure}.png", dpi=150)
    print(f"written: {', '.join(str(args.output / f'{figure}.png') for figure in FIGURES)}")


if __name__ == "__main__":
    main()

# %%
# All ten classes, with at most 20 epochs and the default settings otherwise:
#
# .. if-measured:: figures/figure4.png
#
#    .. image:: ../results/figures/figure4.png
#       :alt: Rows of images: typical inliers, anomalies that look like inliers, and odd inliers.
#
# .. if-measured:: figures/figure6.png
#
#    .. image:: ../results/figures/figure6.png
#       :alt: Rows of images: inliers of the highest scores.
#
# .. if-measured:: figures/figure7.png
#
#    .. image:: ../results/figures/figure7.png
#       :alt: Rows of images: inliers of the lowest scores.
#
# .. if-measured:: figures/figure8.png
#
#    .. image:: ../results/figures/figure8.png
#       :alt: Rows of images: anomalies of the highest scores.
