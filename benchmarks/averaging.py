"""Averaged weights, schedules and batches: what each does to AUROC, by the protocol of `choose_defaults.py`.

One normal class of five in turn, training images alone. Averages of weights do not act on training, so that one run
gives the AUROC of every average at every epoch, and rules that stop earlier are judged by what was recorded. Columns of
weights: "plain"; running means that keep min(decay, (1 + n) / (k + n)) of themselves in step n; and the mean over the
ends of the last three epochs. "AUROC" is that of held-out training images of five classes, by their labels. A fit does
not see it: rules watch the AUROC of held-out inliers against held-out auxiliary rows, as the detectors do.

    python benchmarks/averaging.py --records records.csv > docs/results/averaging.txt
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from choose_defaults import CLASSES, fold
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.flows import FlowData, FlowTrainer, RealNVP, Stage, contrastive_loss, outlier_exposure_loss
from skcnf.flows._loop import auroc

# name to the decay, and to k of the start-up (1 + n) / (k + n) that bounds it in step n
AVERAGES = {"0.9": (0.9, 10), "0.97": (0.97, 10), "0.97, k = 4": (0.97, 4)}
CHOSEN = "0.97, k = 4"
EPOCHS = 12
CLAMP = 0.5 * 128 + 0.5 * 128  # nats: the default, in standardised space
CONTRASTIVE = partial(contrastive_loss, clamp=CLAMP)
EXPOSURE = partial(outlier_exposure_loss, margin=128.0)


class Recorder:
    """Averages the weights after each step and scores all averages at the end of each epoch."""

    def __init__(self, flow, data, X_test, y, tags, every_epoch=True):
        self.flow, self.data, self.X_test, self.y, self.tags = flow, data, X_test, y, tags
        self.every_epoch, self.rows, self.kept = every_epoch, [], {}
        self.n_steps, self.averages, self.ends = 0, {}, []

    def step(self, optimizer, args, kwargs):
        (values,) = optimizer.param_groups[0]["params"]
        self.values = values.detach()
        for name, (decay, k) in AVERAGES.items():
            keep = min(decay, (1 + self.n_steps) / (k + self.n_steps))
            average = self.averages.setdefault(name, torch.zeros_like(self.values))
            average.lerp_(self.values, 1 - keep if self.n_steps else 1.0)
        self.n_steps += 1

    def end_epoch(self, _, record):
        self.ends = [*self.ends[-2:], self.values.clone()]
        if not self.every_epoch and record["epoch"] < self.tags["max_epochs"]:
            return
        weights = {"plain": self.ends[-1], "three epochs": torch.stack(self.ends).mean(0), **self.averages}
        for kind, own in weights.items():
            self.values.copy_(own)
            val, test = self.scores()
            self.rows.append({**self.tags, "epoch": record["epoch"], "weights": kind, "val": val, "auroc": test})
            if val > self.kept.get(kind, (-1.0,))[0]:
                self.kept[kind] = val, own.clone()
        self.values.copy_(self.ends[-1])

    @torch.no_grad()
    def scores(self):
        val = auroc(self.flow.log_prob(self.data.X_val), self.flow.log_prob(self.data.X_aux_val))
        scores = self.flow.log_prob(self.X_test)
        return val, auroc(scores[self.y == 1], scores[self.y == -1])


def train(flow, problem, objective, tags, *, every_epoch=True, falling=False, seed=0, **config):
    """Train ``flow`` and return the recorder; ``falling``: the rate goes to 0 by a straight line."""
    data, X_test, y = problem
    trainer = FlowTrainer(patience=config["max_epochs"], seed=seed, **config)
    recorder = Recorder(flow, data, X_test, y, {**tags, **config}, every_epoch)
    n_steps = config["max_epochs"] * math.ceil(len(data.X) / trainer.batch_size)

    def set_rate(optimizer, args, kwargs):
        optimizer.param_groups[0]["lr"] = trainer.learning_rate * (1 - recorder.n_steps / n_steps)

    hooks = [register_optimizer_step_post_hook(recorder.step)]
    hooks += [register_optimizer_step_pre_hook(set_rate)] if falling else []
    trainer.train(flow, data, Stage(objective), recorder.end_epoch)
    for hook in hooks:
        hook.remove()
    return recorder


def problem_of(data, k, seed):
    """What a fit of the default detector to class ``k`` trains on and stops by, and what judges it."""
    X, X_test, y = fold(data, k, seed)
    rng = np.random.default_rng(seed)
    order, aux = rng.permutation(len(X)), rng.permutation(len(data.X_aux))
    n_held_out = len(X) // 10
    rows, stop = X[order[n_held_out:]], X[order[: n_held_out // 2]]
    mean, scale = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)

    def tensor(values):
        return torch.as_tensor(((values - mean) / scale).astype(np.float32))

    noise = torch.as_tensor(0.01 / scale, dtype=torch.float32)
    X_aux, X_aux_val = data.X_aux[aux[2000:]], data.X_aux[aux[:2000]]
    parts = FlowData(tensor(rows), tensor(stop), tensor(X_aux), tensor(X_aux_val), noise_std=noise)
    return parts, tensor(X_test), torch.as_tensor(y)


def base(k, seed, problem):
    flow = RealNVP(128, seed=seed)
    return train(flow, problem, CONTRASTIVE, {"trial": "CF"}, seed=seed, max_epochs=EPOCHS).rows


def schedules(k, seed, problem):
    rows = []
    for n in (4, 6, 8):
        flow, tags = RealNVP(128, seed=seed), {"trial": f"CF, rate to 0 in {n} epochs"}
        rows += train(flow, problem, CONTRASTIVE, tags, every_epoch=False, falling=True, seed=seed, max_epochs=n).rows
    return rows


def batches(k, seed, problem):
    flow, tags = RealNVP(128, seed=seed), {"trial": "CF, batches of 512, rate 2e-3"}
    config = {"max_epochs": EPOCHS, "batch_size": 512, "learning_rate": 2e-3}
    return train(flow, problem, CONTRASTIVE, tags, seed=seed, **config).rows


def rivals(k, seed, problem):
    """Flow, and OE from the flow's kept weights, plain or averaged: the record of OE is of that kind alone."""
    flow = RealNVP(128, seed=seed)
    first = train(flow, problem, None, {"trial": "Flow"}, seed=seed, max_epochs=EPOCHS)
    rows = first.rows
    for kind in ("plain", "0.97"):
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(first.kept[kind][1].flatten(), list(trained_parameters(flow)))
        second = train(flow, problem, EXPOSURE, {"trial": "OE"}, seed=seed + 1, max_epochs=8)
        rows += [row for row in second.rows if row["weights"] == kind]
    return rows


def trained_parameters(flow):
    """In the order in which the trainer lays them out."""
    for block in flow.blocks:
        first, _, second = block.subnet
        yield from (first.weight, first.bias, second.weight, second.bias, block.global_scale, block.global_offset)


TRIALS = {"base": base, "schedules": schedules, "batches": batches, "rivals": rivals}


def stopped(group, patience, max_epochs):
    """AUROC of the epoch that a rule keeps, and the number of epochs that it takes."""
    best, kept, last = -1.0, None, 0
    for row in group.sort_values("epoch").itertuples():
        if row.epoch > max_epochs or (kept is not None and last - kept.epoch >= patience):
            break
        last = row.epoch
        if row.val > best:
            best, kept = row.val, row
    return kept.auroc, last


def by_rule(records, patience, max_epochs):
    """A row for each kind of weights, class and seed."""
    rows = [
        (*key, *stopped(group, patience, max_epochs))
        for key, group in records.groupby(["weights", "normal", "seed"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["weights", "normal", "seed", "auroc", "epochs"])


def print_trial(name, records):
    n_fits = len(records.groupby(["normal", "seed"]))
    print(f"\n{name}: {n_fits} fits, seeds {sorted(records.seed.unique().tolist())}; AUROC in %, mean over fits")
    table = records.pivot_table("auroc", "weights", "epoch", sort=False).mul(100).round(2)
    table.columns = [f"epoch {int(epoch)}" for epoch in table.columns]
    print(table.to_string())
    if records.epoch.nunique() > 3:
        print_rules(records)


def print_rules(records):
    print("\n  AUROC at so many epochs, under early stopping")
    columns = {}
    for patience in (1, 2, 3):
        for max_epochs in (6, 8, 10, EPOCHS):
            means = by_rule(records, patience, max_epochs).groupby("weights", sort=False)[["auroc", "epochs"]].mean()
            shown = [f"{100 * auroc:.2f} at {epochs:.1f}" for auroc, epochs in means.itertuples(index=False)]
            columns[f"patience {patience}, at most {max_epochs}"] = pd.Series(shown, means.index)
    print(pd.DataFrame(columns).T.to_string())


def print_difference(records):
    """The default that was chosen beside the one before it."""
    before = by_rule(records[records.weights == "plain"], 3, EPOCHS)
    after = by_rule(records[records.weights == CHOSEN], 3, 7)
    print(
        f"\nCF, weights {CHOSEN} for 100 steps (7 epochs), less plain weights for at most {EPOCHS} epochs, patience 3"
    )
    joined = before.merge(after, on=["normal", "seed"], suffixes=("", "_after"))
    for k, group in joined.groupby("normal"):
        change = 100 * (group.auroc_after - group.auroc)
        spread = [100 * group[column].std() for column in ("auroc", "auroc_after")]
        print(f"  class {k}: {change.mean():+.2f}; standard deviation over seeds {spread[0]:.2f}, then {spread[1]:.2f}")
    change = 100 * (joined.auroc_after - joined.auroc)
    epochs = joined[["epochs", "epochs_after"]].mean()
    print(f"  mean {change.mean():+.2f}; epochs {epochs.iloc[0]:.1f}, then {epochs.iloc[1]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--records", type=Path, required=True, help="a CSV file of every epoch; what it holds is not run again"
    )
    parser.add_argument("--seeds", type=int, default=3, help="0 prints what the records hold")
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), choices=TRIALS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load_cifar10_features()
    records = pd.read_csv(args.records) if args.records.exists() else pd.DataFrame(columns=["run", "normal", "seed"])
    done = set(zip(records["run"], records["normal"], records["seed"], strict=True))
    for name in args.trials:
        for seed in range(args.seeds):
            for k in CLASSES:
                if (name, k, seed) in done:
                    continue
                rows = TRIALS[name](k, seed, problem_of(data, k, seed))
                new = pd.DataFrame([{"run": name, "normal": k, "seed": seed, **row} for row in rows])
                records = pd.concat([records, new], ignore_index=True)
                records.to_csv(args.records, index=False)
    for name, own in records.groupby("trial", sort=False):
        print_trial(name, own)
    print_difference(records[records.trial == "CF"])
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
