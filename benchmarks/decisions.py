"""Check what decisions promise: false-alarm rate, p-values and false discovery rate; then show what they find.

Each seed draws rows to train on, to calibrate with and to test anew, from two cameras whose inliers differ a little.
Every detector is judged as fitted, after recalibration by new rows, after recalibration in groups (a camera each), and
behind a whitening PCA that learnt from all training rows, calibrated by rows that it has not seen. Means over seeds
must keep their bounds up to 3 standard errors, taken from the spread between seeds. Two more lines show what a PCA of
many components costs where the pipeline is only fitted.

    python benchmarks/decisions.py > docs/results/decisions.txt
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import numpy as np
import torch
from _promises import detectors, lowest_rate, mean_and_error, quiet
from joblib import Parallel, delayed
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

import skcnf
from skcnf.cli._benchmark import environment

NAMES = ("ContrastiveFlowDetector", "OutlierExposureDetector", "KNN", "GaussianDetector")
N_FEATURES, N_TRAIN, N_CALIBRATION, N_INLIERS, N_ANOMALIES = 8, 400, 199, 200, 50
RATE, FDR = 0.05, 0.1
LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5)  # at which the p-values are held against the uniform distribution
POWER = {"calibration": (250, 1000, 2500), "share": (0.01, 0.05, 0.2), "rows": 1000, "fdr": 0.05}


class Draw:
    """Rows of one seed: inliers of two cameras, anomalies far out, auxiliary rows."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.mixing = self.rng.normal(size=(N_FEATURES, N_FEATURES)) / np.sqrt(N_FEATURES)

    def inliers(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows, and the camera of each."""
        cameras = self.rng.choice(["left", "right"], n)
        latent = self.rng.normal(size=(n, N_FEATURES)) * np.where(cameras == "left", 1.0, 1.5)[:, None]
        return latent @ self.mixing, cameras

    def anomalies(self, n: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
        """Inliers of some camera, moved by ``distance`` times their spread in a random direction."""
        X, cameras = self.inliers(n)
        direction = self.rng.normal(size=(n, N_FEATURES))
        return X + distance * direction / np.linalg.norm(direction, axis=1, keepdims=True), cameras

    def auxiliary(self) -> np.ndarray:
        """Broad rows."""
        return 4 * self.rng.normal(size=(600, N_FEATURES))


def judged(model, draw, with_groups):
    """What one model does with the test rows of one seed."""
    (X, cameras), (far, far_cameras) = draw.inliers(N_INLIERS), draw.anomalies(N_ANOMALIES, 12.0)
    everything, groups = np.concatenate([X, far]), np.concatenate([cameras, far_cameras])
    p = quiet(skcnf.p_values, model, everything, groups if with_groups else None)
    selected = quiet(skcnf.select, model, everything, FDR, groups if with_groups else None)
    false = selected[:N_INLIERS].sum()
    own = p[:N_INLIERS]
    rates = {"flagged": (own <= RATE).mean(), "fdp": false / max(1, selected.sum())}
    sizes = _detector(model)._calibration().sizes()
    lowest = {f"lowest, {camera}": lowest_rate(n, RATE) for camera, n in sizes.items()}
    if with_groups:
        rates |= {f"flagged, {camera}": (own[cameras == camera] <= RATE).mean() for camera in sizes}
    one = {f"p <= {level:g}": float(own[0] <= level) for level in LEVELS}  # one row a seed: seeds are independent
    return {**rates, **lowest, **one, "found": selected[N_INLIERS:].mean()}


def _detector(model):
    return getattr(model, "steps", [("", model)])[-1][1]


def promises(name, seed):
    """The variants of one detector under one seed."""
    torch.set_num_threads(1)
    draw = Draw(seed)
    (X, _), (new, cameras), aux = draw.inliers(N_TRAIN), draw.inliers(N_CALIBRATION), draw.auxiliary()
    make = partial(detectors()[name], validation_fraction=0.4, random_state=seed)
    detector = quiet(make().fit, X, X_aux=aux)
    out = {"fit": judged(detector, draw, False)}
    out["recalibrated"] = judged(quiet(detector.recalibrate, new), draw, False)
    out["in groups"] = judged(quiet(detector.recalibrate, new, groups=cameras), draw, True)
    pca = PCA(N_FEATURES, whiten=True).fit(X)
    pipeline = quiet(make_pipeline(pca, make()).fit, X, **{_step(make()): pca.transform(aux)})
    out["PCA, calibrated"] = judged(quiet(skcnf.calibrate, pipeline, new), draw, False)
    return out


def _step(detector):
    return f"{type(detector).__name__.lower()}__X_aux"


def power(name, seed):
    """The share of far anomalies found and the false share, by calibration rows and share of anomalies."""
    torch.set_num_threads(1)
    draw = Draw(seed)
    detector = quiet(detectors()[name](random_state=seed).fit, draw.inliers(N_TRAIN)[0], X_aux=draw.auxiliary())
    out = {}
    for n in POWER["calibration"]:
        quiet(detector.recalibrate, draw.inliers(n)[0])
        for share in POWER["share"]:
            n_far = round(share * POWER["rows"])
            X = np.concatenate([draw.inliers(POWER["rows"] - n_far)[0], draw.anomalies(n_far, 12.0)[0]])
            selected = quiet(detector.select, X, fdr=POWER["fdr"])
            false = selected[:-n_far].sum() / max(1, selected.sum())
            out[n, share] = selected[-n_far:].mean(), false
    return out


def check(name, variant, results):
    """A line for one detector and variant, and whether its bounds hold."""
    kept, broken = {}, []

    def bound(key, high, lowest=None):
        kept[key], error = mean_and_error([result[key] for result in results])
        low = 0.0 if lowest is None else np.mean([result[lowest] for result in results])
        if not low - 3 * error <= kept[key] <= high + 3 * error:
            broken.append(key)

    groups = [key.removeprefix("lowest, ") for key in results[0] if key.startswith("lowest, ")]
    bound("flagged", RATE, None if groups[0] else "lowest, ")
    for group in filter(None, groups):
        bound(f"flagged, {group}", RATE, f"lowest, {group}")
    bound("fdp", FDR)
    for level in LEVELS:
        bound(f"p <= {level:g}", level)
    found = np.mean([result["found"] for result in results])
    text = "  ".join(f"{100 * kept[key]:6.2f}" for key in ("flagged", "fdp"))
    levels = "  ".join(f"{100 * kept[f'p <= {level:g}']:5.1f}" for level in LEVELS)
    each = ", ".join(f"{group} {100 * kept[f'flagged, {group}']:.2f}" for group in groups if group)
    verdict = "holds" if not broken else f"BROKEN: {', '.join(broken)}"
    print(f"{name:24s}  {variant:16s}  {text}  {levels}  {100 * found:6.1f}  {verdict}  {each}".rstrip(), flush=True)
    return not broken


def show_power(name, results):
    """A line for each number of calibration rows; whether the FDR holds and the largest finds half at the end."""
    holds = True
    for n in POWER["calibration"]:
        cells = []
        for share in POWER["share"]:
            found = np.mean([result[n, share][0] for result in results])
            false, error = mean_and_error([result[n, share][1] for result in results])
            holds &= false <= POWER["fdr"] + 3 * error
            cells.append(f"{100 * found:12.1f} ({100 * false:4.1f})")
        print(f"{name:24s}  {n:11d}  {'  '.join(cells)}", flush=True)
    return holds and found >= 0.5


def guard(seed):
    """Inliers flagged at 5 % behind PCA(128, whiten) of 2,000 x 256: only fitted, and calibrated by unseen rows."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(128, 256))
    X, new, test = (rng.normal(size=(n, 128)) @ mixing + 0.01 * rng.normal(size=(n, 256)) for n in (2000, 199, 1000))
    pipeline = make_pipeline(PCA(128, whiten=True), skcnf.MSEDetector(random_state=seed)).fit(X)
    fitted = (quiet(skcnf.p_values, pipeline, test) <= RATE).mean()
    return fitted, (skcnf.p_values(skcnf.calibrate(pipeline, new), test) <= RATE).mean()


def main(arguments=None):
    """Status 0 if every bound holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--power-seeds", type=int, default=50)
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--detectors", default=",".join(name for name in NAMES if name in detectors()))
    args = parser.parse_args(arguments)
    print(environment())
    names, holds = args.detectors.split(","), True
    print(
        f"in %, means over {args.seeds} seeds: inliers flagged at {RATE:.0%}, false share of rows selected at an FDR of"
    )
    print(f"{FDR:.0%}, seeds whose one inlier has a p-value of at most 1, 5, 10, 25, 50 %, far anomalies selected")
    print(f"{'detector':24s}  {'variant':16s}  flagged   FDP     1      5     10     25     50   found")
    with Parallel(n_jobs=args.n_jobs) as parallel:
        for name in names:
            results = parallel(delayed(promises)(name, seed) for seed in range(args.seeds))
            for variant in results[0]:
                holds &= check(name, variant, [result[variant] for result in results])
        print("every bound holds\n" if holds else "a bound is broken\n")
        print(f"far anomalies selected at an FDR of {POWER['fdr']:.0%} (false share in brackets), in %, among")
        print(f"{POWER['rows']} rows, means over {args.power_seeds} seeds")
        shares = "  ".join(f"{f'{share:.0%} anomalies':>19s}" for share in POWER["share"])
        print(f"{'detector':24s}  {'calibration':>11s}  {shares}")
        for name in names if args.power_seeds else ():
            holds &= show_power(name, parallel(delayed(power)(name, seed) for seed in range(args.power_seeds)))
        fitted, calibrated = np.mean(parallel(delayed(guard)(seed) for seed in range(20)), axis=0)
        print("\nMSE behind PCA(128, whiten=True) of 2,000 rows in 256 dimensions, inliers flagged at 5 %, 20 seeds:")
        print(f"pipeline only fitted {fitted:.1%}, calibrated by 199 rows that it has not seen {calibrated:.1%}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
