"""Rot+Trans and CSI on CIFAR-10 within a budget of hours, from nothing and from the bundled encoder.

Each class in turn is normal. What a training step and a score take is measured first, on one core; the budget is then
shared out equally among the fits, and each trains for as many epochs as its share allows (``plan.json``). A run that
was cut, within a training too, goes on when it is started again; rows that are done are not computed twice.

``--protocol held-out`` is that of `choose_defaults.py`: of each of five classes 4,000 training images are fitted on,
and 1,000 others scored. It is the one to choose settings by. ``--protocol test`` fits on all training images and scores
the test split; it is for reported tables.

    python benchmarks/image_detectors.py --data DIR --hours 2 --output results/image-detectors
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from choose_defaults import CLASSES, fold
from matplotlib.figure import Figure

from skcnf import CSIDetector, RotTransDetector
from skcnf._core.container import read_container
from skcnf._core.files import write_atomically
from skcnf.cli._benchmark import environment
from skcnf.datasets import LabelledFeatures, load_image_dataset, stack_labelled_images
from skcnf.evaluation import one_vs_rest
from skcnf.paper._layouts import quoted_cells

DETECTORS = {"rot-trans": ("Rot+Trans", RotTransDetector), "csi": ("CSI", CSIDetector)}
STARTS = {"nothing": None, "bundled": "tinyimagenet32"}
# what the papers train, and for how long
BUDGETS = {
    "Rot+Trans": "the authors' code for ImageNet-30: 45 passes over 4 copies of each image, ResNet-18 with attention",
    "CSI": "1,000 epochs over 8 copies of each image, ResNet-18 of width 64, 3 x 3 stem",
}
PROBE = 128  # images


def held_out(data: LabelledFeatures, seed: int) -> LabelledFeatures:
    """Training images of five classes alone: 4,000 of each to fit on, and 1,000 of each in place of test images."""
    trains, tests = zip(*[fold(data, k, seed)[:2] for k in CLASSES], strict=True)
    y_train = np.repeat(np.arange(len(CLASSES)), [len(train) for train in trains])
    y_test = np.repeat(np.arange(len(CLASSES)), 1000)
    names = tuple(data.class_names[k] for k in CLASSES)
    # every fold draws the same images of every class
    name = "CIFAR-10, held-out training images"
    return LabelledFeatures(np.concatenate(trains), y_train, tests[0], y_test, None, names, name, "images")


def settings(args: argparse.Namespace) -> dict[str, RotTransDetector | CSIDetector]:
    """The detectors of a run by name, without their number of epochs."""
    made = {}
    for detector in args.detectors:
        for start in args.starts:
            name, cls = DETECTORS[detector]
            made[f"{name}, from {start}"] = cls(
                weights=STARTS[start],
                width=args.width,
                stem=args.stem,
                batch_size=args.batch_size,
                learning_rate=args.learning_rate,
                precision=args.precision,
                validation_fraction=0.01,
                checkpoints=args.output / "checkpoints" / f"{detector}-{start}",
                device="cpu",
            )
    return made


def seconds_of(detector: RotTransDetector | CSIDetector, images: np.ndarray) -> tuple[float, float]:
    """Seconds that an image takes on one core in an epoch, and in scoring."""
    torch.set_num_threads(1)
    parameters = {"checkpoints": None, "n_epochs": 2, "random_state": 0}
    fitted = type(detector)(**{**detector.get_params(), **parameters})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few calibration images
        fitted.fit(images)
    start = time.perf_counter()
    fitted.score_samples(images)
    # the first epoch warms up
    return 1 / fitted.history_[-1]["images_per_second"], (time.perf_counter() - start) / len(images)


def make_plan(args: argparse.Namespace, data: LabelledFeatures, n_classes: int) -> dict[str, dict[str, float]]:
    """Epochs of each setting, so that all fits and scores take about the budget on ``n_jobs`` cores, and its speed."""
    made = settings(args)
    share = args.hours * 3600 * args.n_jobs / (len(made) * n_classes)
    n_train = len(data.X_train) / len(data.class_names)
    plan = {}
    for name, detector in made.items():
        training, scoring = seconds_of(detector, data.X_train[:PROBE])
        n_scored = len(data.X_test) + n_train * isinstance(detector, CSIDetector)  # the features of its training images
        epochs = max(1, int((share - n_scored * scoring) / (n_train * training)))
        plan[name] = {"epochs": epochs, "trained": round(1 / training), "scored": round(1 / scoring)}
        hours = (epochs * n_train * training + n_scored * scoring) / 3600
        print(f"{name}: {in_words(plan[name])}, {hours:.2f} core hours a class planned", flush=True)
    return plan


def in_words(planned: dict[str, float]) -> str:
    """Epochs and speed of a setting."""
    rates = "{trained} images a second and core in training, {scored} in scoring".format_map(planned)
    return f"{planned['epochs']} epochs, {rates}"


def kept_plan(args: argparse.Namespace, data: LabelledFeatures, n_classes: int) -> dict[str, dict[str, float]]:
    """The plan of a run that was cut, or a new one."""
    path = args.output / "plan.json"
    asked = {name: value for name, value in vars(args).items() if name not in ("data", "output")}
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["asked"] != asked:
            raise SystemExit(f"'{path}' is the plan of another run, {kept['asked']}; give another --output.")
        return kept["plan"]
    plan = make_plan(args, data, n_classes)
    write_atomically(path, json.dumps({"asked": asked, "plan": plan}, indent=1).encode())
    return plan


def report(results: pd.DataFrame, plan: dict[str, dict[str, float]], protocol: str) -> str:
    """A table of AUROC in per cent, with epochs and hours, and the papers' figures below."""
    lines = []
    for name, rows in results.groupby("detector", sort=False):
        values = rows.set_index("inlier_class")["auroc"] * 100
        hours = rows[["fit_seconds", "score_seconds"]].sum(axis=1).mean() / 3600
        each = ", ".join(f"{label} {value:.1f}" for label, value in values.items())
        lines.append(f"{name}: mean {values.mean():.1f} ({each}); {in_words(plan[name])}, {hours:.2f} h a class")
        lines += [f"  {error}" for error in rows["error"] if error]
    if protocol == "test":
        quoted = quoted_cells(1).set_index(["row", "column"])["mean"]
        for name in BUDGETS:
            each = ", ".join(f"{label} {quoted[name, label]:.1f}" for label in results["inlier_class"].unique())
            lines.append(f"{name}, paper: {each}")
    return "\n".join([*lines, *(f"{name}: {budget}" for name, budget in BUDGETS.items())])


def draw_losses(folder: Path, path: Path) -> None:
    """The loss of every training by epoch, and the share of rotations that CSI tells."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    figure = Figure(figsize=(4 * len(folders), 3.2), layout="constrained")
    for axes, runs in zip(np.atleast_1d(figure.subplots(1, len(folders))), folders, strict=True):
        for file in sorted(runs.glob("*.safetensors")):
            _, header, _ = read_container(file, ["skcnf-pretraining-1"])
            history = pd.DataFrame(header["history"])
            axes.plot(history["epoch"] + 1, history["loss"])
            if "shift_accuracy" in history:
                axes.plot(history["epoch"] + 1, history["shift_accuracy"], ":", color=axes.lines[-1].get_color())
        axes.set(title=runs.name, xlabel="epoch", ylabel="loss in nats\n(dotted: share of rotations told)")
    figure.savefig(path, dpi=150)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    def words(text: str, known: Iterable[str] = ()) -> list[str]:
        if known and not set(text.split(",")) <= set(known):
            raise argparse.ArgumentTypeError(f"'{text}' must name some of {','.join(known)}, with commas between")
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds CIFAR-10's images")
    parser.add_argument("--output", type=Path, required=True, help="results, plan, checkpoints and figure")
    parser.add_argument("--hours", type=float, default=2.0, help="of the whole run (default: 2)")
    parser.add_argument("--protocol", choices=("held-out", "test"), default="held-out")
    parser.add_argument("--classes", type=words, help="default: all of the protocol")
    parser.add_argument("--detectors", type=partial(words, known=DETECTORS), default=[*DETECTORS])
    parser.add_argument("--starts", type=partial(words, known=STARTS), default=[*STARTS])
    parser.add_argument("--width", type=int, default=32, help="of encoders from nothing (default: 32)")
    parser.add_argument("--stem", default="strided", help="of encoders from nothing (default: strided)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16 (default: auto)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=2, help="processes, one core each (default: 2)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parsed(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    data = stack_labelled_images(load_image_dataset("cifar10", args.data))
    data = held_out(data, args.seed) if args.protocol == "held-out" else data
    classes = args.classes or list(data.class_names)
    if not set(classes) <= set(data.class_names):
        raise SystemExit(f"--classes: {','.join(classes)} are not all among {','.join(data.class_names)}.")
    plan = kept_plan(args, data, len(classes))
    made = {name: detector.set_params(n_epochs=plan[name]["epochs"]) for name, detector in settings(args).items()}
    options = {"seeds": [args.seed], "classes": classes, "n_jobs": args.n_jobs, "verbose": True}
    results = one_vs_rest(made, data, output=args.output / "results.csv", **options)
    draw_losses(args.output / "checkpoints", args.output / "losses.png")
    print(report(results, plan, args.protocol))
    print(environment())


if __name__ == "__main__":
    main()
