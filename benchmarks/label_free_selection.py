"""Does AUROC against auxiliary rows rank candidates as the true AUROC does? Rank correlations, by Spearman's rho.

Under the protocol of the defaults (docs/defaults.rst): training images of plane, bird, deer, frog and ship alone. Each
in turn is normal; candidates are fitted on 3,500 of its rows and on 20,000 auxiliary rows, and judged without a label,
by 500 held-out inliers against 10,000 auxiliary rows that no fit saw (`skcnf.auxiliary_scorer`), and with labels, by
1,000 further rows of each of the five classes.

    python benchmarks/label_free_selection.py > docs/results/label-free.txt
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
import torch
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed
from scipy.stats import spearmanr
from sklearn.base import clone

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    auxiliary_scorer,
)
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc
from skcnf.paper import make_detectors

FLOW = {"device": "cpu", "random_state": 0}
CANDIDATES = {
    "CF": ContrastiveFlowDetector(**FLOW),
    "CF, clamp 0": ContrastiveFlowDetector(nll_clamp=0.0, **FLOW),
    "CF, aux_weight 0.1": ContrastiveFlowDetector(aux_weight=0.1, **FLOW),
    "CF, aux_weight 2": ContrastiveFlowDetector(aux_weight=2.0, **FLOW),
    "CF, noise 0.1": ContrastiveFlowDetector(noise_std=0.1, **FLOW),
    "CF, 1 epoch": ContrastiveFlowDetector(max_epochs=1, **FLOW),
    "CF, 2 blocks of 64": ContrastiveFlowDetector(n_blocks=2, hidden_units=64, **FLOW),
    "OE": OutlierExposureDetector(**FLOW),
    "Flow": FlowDetector(**FLOW),
    "Flow, likelihood stop": FlowDetector(stopping="likelihood", **FLOW),
    "MSE": MSEDetector(random_state=0),
    "MSE-ratio": MSERatioDetector(random_state=0),
    **make_detectors(["KNN", "PCA", "LOF", "IForest"]),
}


def judge(name, normal):
    torch.set_num_threads(1)
    data = load_cifar10_features()
    X, X_test, y = fold(data, normal, 0)
    detector = clone(CANDIDATES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        detector.set_params(random_state=0).fit(X[500:], X_aux=data.X_aux[:20_000])
    unseen = auxiliary_scorer(data.X_aux[20_000:])(detector, X[:500])
    return {
        "candidate": name,
        "class": data.class_names[normal],
        "label-free": unseen,
        "true": auroc(y, detector.score_samples(X_test)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    tasks = [delayed(judge)(name, normal) for normal in CLASSES for name in CANDIDATES]
    results = pd.DataFrame(Parallel(n_jobs=args.n_jobs)(tasks))
    wide = results.pivot_table(index="candidate", columns="class", values=["label-free", "true"], sort=False) * 100
    print("AUROC in %: against auxiliary rows (label-free), and against the other classes (true)\n")
    print(wide.round(1).to_string())
    learners = [name for name in CANDIDATES if "CF" in name or name == "OE"]
    for title, names in (("all candidates", list(CANDIDATES)), ("CF and OE alone", learners)):
        rho = {c: spearmanr(wide["label-free"].loc[names, c], wide["true"].loc[names, c])[0] for c in wide["true"]}
        mean = spearmanr(wide["label-free"].loc[names].mean(axis=1), wide["true"].loc[names].mean(axis=1))[0]
        chosen = wide["label-free"].loc[names].idxmax()
        loss = np.mean([wide["true"].loc[names, c].max() - wide["true"].loc[chosen[c], c] for c in chosen.index])
        each = ", ".join(f"{name} {value:+.2f}" for name, value in rho.items())
        print(f"\n{title} ({len(names)}): rank correlation of the means {mean:+.2f}; by class: {each}")
        print(f"the candidate chosen without labels lies {loss:.2f} points below the best, on average over the classes")
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
