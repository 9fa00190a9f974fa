"""Tiles: small patches pasted into photographs, and the false-alarm rate of images of mixed sizes.

Normal images are photographs at a side of 128 pixels of two kinds. "camera": views of one scene, the temple that comes
with scikit-learn, that differ by up to 12 pixels of shift, by 20 % in brightness and by noise. "faces": aligned CelebA
faces, a different one each time, with whatever is around them; the first ones of a folder in the order of their names.
Patches of a quarter, an eighth and a sixteenth of the side come from other photographs (scikit-learn's flower; for
faces the temple too), at random places. Detectors see whole images, or tiles, under the bundled encoder.
Auxiliary rows are the bundled ones.

The promise: of each seed 200 images of mixed sizes fit a detector, one half of which calibrates (of flows a quarter),
and 200 others are judged. Mean rates over seeds must keep their bounds up to 3 standard errors. The last line shows
what tiles as rows of their own would do.

    python benchmarks/tiles.py celeba/img_align_celeba/ --pictures docs/results > docs/results/tiles.txt
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _promises import FLOW, lowest_rate, mean_and_error, quiet
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.pipeline import make_pipeline

import skcnf
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc
from skcnf.explanations import occlusion_map
from skcnf.images import list_images, load_images
from skcnf.tiling import TileMap

KINDS = ("camera", "faces")
SHIFT, BRIGHTNESS, NOISE = 12, 0.2, 3.0
SIDE, N_TRAIN, N_TEST = 128, 200, 100
PARTS = (4, 8, 16)  # of the side: patches are a quarter of it, and so on
TILES = (4, 8)
RATES = (0.05, 0.2)
N_FIT, N_JUDGED, N_POOL = 200, 200, 600


def detectors(seed=0):
    """Rivals by name; those that take auxiliary rows get the bundled ones."""
    return {
        "MSE": skcnf.MSEDetector(random_state=seed),
        "Gaussian": skcnf.GaussianDetector(random_state=seed),
        "CF": skcnf.ContrastiveFlowDetector(random_state=seed, device="cpu"),
    }


def photographs(folder, kind, n):
    """Normal images (n, s, s, 3) of a kind, and the photographs that patches come from."""
    temple, flower = load_sample_images().images
    if kind == "faces":
        return load_images(list_images(folder)[:n], SIDE), [temple, flower]
    rng = np.random.default_rng(2)
    views = [temple[top : top + SIDE, left : left + SIDE] for top, left in 200 + rng.integers(0, SHIFT + 1, (n, 2))]
    bright = np.stack(views) * rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, (n, 1, 1, 1))
    return (bright + NOISE * rng.standard_normal(bright.shape)).clip(0, 255).astype(np.uint8), [flower]


def patched(images, foreign, side, rng):
    """The images with a patch of a foreign photograph each, and where: (top, left)."""
    images = images.copy()
    places = rng.integers(0, images.shape[1] - side + 1, (len(images), 2))
    for image, (top, left) in zip(images, places, strict=True):
        photograph = foreign[rng.integers(len(foreign))]
        row, column = (rng.integers(0, extent - side) for extent in photograph.shape[:2])
        image[top : top + side, left : left + side] = photograph[row : row + side, column : column + side]
    return images, places


def holds(heat, place, side):
    """Whether the patch's pixels hold the coldest cell of a heat map, or a part of it."""
    top, left = place
    return bool((heat[top : top + side, left : left + side] == heat.min()).any())


class Tiles:
    """Tiles of one size: their features, computed once for every detector."""

    def __init__(self, featurizer, tile, train, tests):
        self.model = skcnf.TiledDetector(featurizer, skcnf.MSEDetector(), tile=tile)
        encoder = self.model._prepare(train)
        self.train, self.tests = encoder.transform(train), {name: encoder.transform(X) for name, X in tests.items()}
        self.name = f"tiles of {tile} px"

    def fit(self, detector, X_aux):
        self.model.set_params(detector=detector)
        quiet(self.model._fit_rows, self.train, (X_aux,))
        return self

    def scores(self, name):
        return self.model._score_rows(self.tests[name])

    def heats(self, name, images):
        grid = self.model._grid(self.model.size_)
        scores = self.model._tile_scores(self.tests[name]).reshape(-1, len(grid.tops), len(grid.lefts))
        return [TileMap(own, grid, grid.shape).heat for own in scores]


class Whole:
    """Whole images, with occlusion for a heat map."""

    name = "whole images"

    def __init__(self, featurizer, train, tests):
        self.featurizer = featurizer.fit(train)
        self.features = self.featurizer.transform(train)
        self.known = {name: self.featurizer.transform(X) for name, X in tests.items()}

    def fit(self, detector, X_aux):
        self.detector = quiet(detector.fit, self.features, X_aux=X_aux)
        return self

    def scores(self, name):
        return self.detector.score_samples(self.known[name])

    def heats(self, name, images):
        model = make_pipeline(self.featurizer, self.detector)
        return [-occlusion_map(model.score_samples, image).heat for image in images]


def defects(folder, featurizer, kind, pictures):
    """AUROC and heat maps by size of the patch; draws some maps."""
    rng = np.random.default_rng(0)
    images, foreign = photographs(folder, kind, N_TRAIN + 2 * N_TEST)
    train, normal, spoilt = np.split(images, [N_TRAIN, N_TRAIN + N_TEST])
    made = {side: patched(spoilt, foreign, side, rng) for side in (SIDE // part for part in PARTS)}
    tests = {"normal": normal, **{side: own for side, (own, _) in made.items()}}
    X_aux, y = load_cifar10_features().X_aux, np.repeat([1, -1], N_TEST)
    print(f"{kind}, in %:")
    columns = "  ".join(f"{f'1/{part}':>6s}" for part in PARTS)
    print(f"{'':38s}  {'AUROC by side of the patch':^22s}  {'patch holds the lowest cell':^26s}")
    print(f"{'seen as':16s}  {'detector':20s}  {columns}  {columns}")
    drawn = {}
    for make in (Whole, *(partial(Tiles, tile=SIDE // part) for part in TILES)):
        views = make(featurizer=featurizer, train=train, tests=tests)
        for name, detector in detectors().items():
            views.fit(detector, X_aux)
            scores = views.scores("normal")
            cells, hits = [], []
            for side, (own, places) in made.items():
                cells.append(100 * auroc(y, np.concatenate([scores, views.scores(side)])))
                heats = views.heats(side, own)
                hits.append(100 * np.mean([holds(h, p, side) for h, p in zip(heats, places, strict=True)]))
                drawn[views.name, name, side] = heats[:6]
            numbers = "  ".join(f"{value:6.1f}" for value in (*cells, *hits))
            print(f"{views.name:16s}  {name:20s}  {numbers}", flush=True)
    if pictures is not None:
        draw(pictures, made, drawn, list(dict.fromkeys(view for view, _, _ in drawn)))
    print()


def draw(path, made, drawn, views):
    """A row for each patch of an image, a column for each heat map."""
    rows = []
    for side, (images, places) in made.items():
        for k in range(2):
            top, left = places[k]
            cells = [images[k]]
            for view in views:
                heat = drawn[view, "CF", side][k]
                share = ((np.median(heat) - heat).clip(0) / max(np.median(heat) - heat.min(), 1e-12))[..., None]
                cell = images[k] * (0.3 + 0.7 * share) * (1 - 0.6 * share) + np.array([255.0, 220.0, 0]) * 0.6 * share
                cell = cell.astype(np.uint8)
                frame = np.s_[max(top - 1, 0) : top + side + 1, max(left - 1, 0) : left + side + 1]
                inside = cell[top : top + side, left : left + side].copy()
                cell[frame] = (255, 0, 0)
                cell[top : top + side, left : left + side] = inside
                cells.append(cell)
            rows.append(np.concatenate(cells, axis=1))
    Image.fromarray(np.concatenate(rows)).quantize(128).save(path, optimize=True)


def of_mixed_sizes(folder):
    """Images of 90 to 200 pixels a side, stretched this way and that."""
    rng = np.random.default_rng(1)
    paths = list_images(folder)[N_TRAIN + 2 * N_TEST :][:N_POOL]
    return [np.asarray(Image.open(path).resize(tuple(rng.integers(90, 201, 2)))) for path in paths]


def promise(name, rows, grid_model, X_aux, seed):
    """The share of new images that is flagged at each rate, and its lowest bound."""
    small = {"MSE": {}, "Gaussian": {}, "CF": {**FLOW, "batch_size": 256}}[name]
    detector = detectors(seed)[name].set_params(validation_fraction=0.49, **small)
    order = np.random.default_rng(seed).permutation(len(rows))
    fitted, judged = rows[order[:N_FIT]], rows[order[N_FIT:][:N_JUDGED]]
    model = grid_model.set_params(detector=detector)
    quiet(model._fit_rows, fitted, (X_aux,))
    p = model._calibration().p_values(model._score_rows(judged), None)
    lowest = [lowest_rate(len(model.calibration_scores_), rate) for rate in RATES]
    return [(p <= rate).mean() for rate in RATES], lowest


def naive(rows, grid_model, seed):
    """The share of images of which a tile is flagged, where tiles were split and calibrated as rows of their own."""
    order = np.random.default_rng(seed).permutation(len(rows))
    detector = skcnf.MSEDetector(validation_fraction=0.49, random_state=seed)
    tiles = grid_model._as_tiles(rows[order[:N_FIT]])
    quiet(detector.fit, tiles)
    judged = rows[order[N_FIT:][:N_JUDGED]]
    p = detector.p_values(grid_model._as_tiles(judged)).reshape(len(judged), -1).min(axis=1)
    return [(p <= rate).mean() for rate in RATES]


def promises(folder, featurizer, n_seeds):
    """Print a line for each detector; whether every bound holds."""
    model = skcnf.TiledDetector(featurizer, skcnf.MSEDetector(), tile=SIDE // 4, image_size=SIDE)
    images = of_mixed_sizes(folder)
    rows = model._prepare(images).transform(images)
    sizes = {image.shape[:2] for image in images}
    print(
        f"{len(images)} images of {len(sizes)} sizes, 90 to 200 px a side, resized to {SIDE} x {SIDE}; tiles of ",
        end="",
    )
    print(f"{SIDE // 4} px. Flagged in %, means over {n_seeds} seeds, at rates of")
    print(f"{'':24s}  " + "  ".join(f"{f'{rate:.0%}':>16s}" for rate in RATES))
    X_aux, every = load_cifar10_features().X_aux[:3000], True
    for name in ("MSE", "Gaussian", "CF"):
        flagged, lowest = zip(*(promise(name, rows, model, X_aux, seed) for seed in range(n_seeds)), strict=True)
        cells, kept = [], True
        for rate, own, low in zip(RATES, np.transpose(flagged), np.transpose(lowest), strict=True):
            mean, error = mean_and_error(own)
            kept &= bool(low.mean() - 3 * error <= mean <= rate + 3 * error)
            cells.append(f"{100 * mean:8.2f} +- {100 * error:4.2f}")
        every &= kept
        print(f"{name:24s}  {'  '.join(cells)}  {'holds' if kept else 'BROKEN'}", flush=True)
    own = np.mean([naive(rows, model, seed) for seed in range(min(n_seeds, 20))], axis=0)
    print(f"{'MSE, tiles split as rows':24s}  " + "  ".join(f"{100 * value:16.2f}" for value in own))
    print("every bound holds" if every else "a bound is broken")
    return every


def main():
    """Status 0 if every bound holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of heat maps")
    parser.add_argument("--cache", type=Path, help="keeps features, so that a second run needs no encoder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        featurizer = skcnf.MocoFeaturizer(device="cpu", memory=args.cache or folder)
        print(
            f"{SIDE} px a side, {N_TRAIN} images to fit on, {N_TEST} normal ones and {N_TEST} with a patch to judge\n"
        )
        for kind in KINDS:
            defects(args.folder, featurizer, kind, args.pictures and args.pictures / f"tiles-{kind}.png")
        return 0 if promises(args.folder, featurizer, args.seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
