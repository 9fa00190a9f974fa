"""An exported model beside Python's on 1,000 real images: features, scores, p-values, verdicts and images a second.

The model is CF behind the bundled encoder, fitted on CIFAR-10's dogs with the bundled auxiliary features; the images
are 500 dogs and 500 others of the test split. ONNX files run in an environment made here, of onnxruntime, NumPy and
Pillow.

    python benchmarks/onnx_export.py cifar10.zip > docs/results/onnx.txt
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skcnf import load
from skcnf.cli import main as skcnf
from skcnf.cli._benchmark import environment
from skcnf.exporting import export_onnx
from skcnf.exporting._modules import module_of
from skcnf.images import read_sheets

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "score_with_onnx.py"
ROUNDS = 7


def python_without_torch(folder):
    """An interpreter that has onnxruntime, NumPy and Pillow."""
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "numpy", "pillow"], check=True)
    return python


def fitted_on_dogs(folder, cifar10):
    train, labels = read_sheets(cifar10, "train")
    np.save(folder / "dogs.npy", train[labels == "dog"])
    if skcnf(["fit", str(folder / "dogs.npy"), "-o", str(folder / "model.skcnf"), "-q"]):
        raise SystemExit("no model")
    return load(folder / "model.skcnf")


def new_images(cifar10):
    rng = np.random.default_rng(0)
    test, labels = read_sheets(cifar10, "test")
    chosen = [rng.choice(np.flatnonzero(which), 500, replace=False) for which in (labels == "dog", labels != "dog")]
    return test[rng.permutation(np.concatenate(chosen))]


def export_features(featurizer, path):
    """The encoder alone."""
    module, size = module_of(featurizer).eval(), featurizer._size
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    torch.onnx.export(
        module,
        (images,),
        path,
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def run_onnx(python, model, images, output):
    subprocess.run([python, "-I", HERE / "onnx_runtime.py", model, images, output], check=True)
    return dict(np.load(output))


def decide(pipeline, images):
    """Features, scores, p-values and verdicts in Python, and the seconds that they take."""
    detector = pipeline[-1]
    start = time.perf_counter()
    features = pipeline[:-1].transform(images)
    score = detector.score_samples(features)
    p_value, verdict = detector._calibration().p_values(score, None), detector._verdicts(score, None)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "features": features, "score": score, "p_value": p_value, "verdict": verdict}


def compare(title, found, expected, detector):
    """Print the differences, and of other p-values and verdicts, those that no calibration score explains."""
    low, high = (side(found["score"], expected["score"]) for side in (np.minimum, np.maximum))
    ordered = np.sort(detector.calibration_scores_)
    near = np.searchsorted(ordered, high, "right") > np.searchsorted(ordered, low, "left")
    at_threshold = (low <= detector.offset_) & (detector.offset_ <= high)
    difference = np.abs(found["score"] - expected["score"]).max() / detector.calibration_scores_.std()
    other_p = ~np.isclose(found["p_value"], expected["p_value"], rtol=0, atol=1e-6)
    other_verdict = found["verdict"] != expected["verdict"]
    print(f"\n{title}")
    print(f"scores: largest difference {difference:.1e} of the calibration scores' standard deviation")
    print(
        f"p-values: {other_p.sum()} of {len(near)} differ; with no calibration score between: {(other_p & ~near).sum()}"
    )
    print(f"verdicts: {other_verdict.sum()} differ; with no threshold between: {(other_verdict & ~at_threshold).sum()}")


def run_example(python, model, files):
    out = subprocess.run([python, "-I", EXAMPLE, model, *files], check=True, capture_output=True, text=True).stdout
    values = np.array([line.split(",")[1:] for line in out.splitlines()], dtype=np.float64)
    return dict(zip(("score", "p_value", "verdict"), values.T, strict=True))


def write_files(folder, images, *, resized):
    """PNG files of the encoder's size, or of 33 to 200 pixels a side."""
    rng, files = np.random.default_rng(1), []
    folder.mkdir()
    for number, image in enumerate(images):
        size = tuple(rng.integers(33, 201, 2).tolist()) if resized else (32, 32)
        files.append(folder / f"{number:04d}.png")
        Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).save(files[-1])
    return files


def report_speed(seconds, n):
    print(f"\nimages a second, {ROUNDS} rounds in turn, scores, p-values and verdicts from arrays in batches of 256")
    for name, values in seconds.items():
        rate, low, high = (n / value for value in (statistics.median(values), max(values), min(values)))
        print(f"{name:<12} {rate:7,.0f}   ({low:,.0f} to {high:,.0f})")
    ratio = statistics.median(a / b for a, b in zip(seconds["Python"], seconds["onnxruntime"], strict=True))
    print(f"onnxruntime is {ratio:.2f} times as fast (median over rounds)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="the zip of CIFAR-10's sheets")
    parser.add_argument("--python", type=Path, help="an interpreter with onnxruntime, NumPy and Pillow, without torch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = args.python or python_without_torch(folder)
        pipeline, images = fitted_on_dogs(folder, args.cifar10), new_images(args.cifar10)
        detector = pipeline[-1]
        export_features(pipeline[0], folder / "features.onnx")
        check = export_onnx(pipeline, folder / "model.onnx", images[:64])
        np.save(folder / "new.npy", images.transpose(0, 3, 1, 2))
        seconds = {"Python": [], "onnxruntime": []}
        for _ in range(ROUNDS):
            found = run_onnx(python, folder / "model.onnx", folder / "new.npy", folder / "out.npz")
            expected = decide(pipeline, images)
            seconds["onnxruntime"].append(float(found["seconds"]))
            seconds["Python"].append(expected["seconds"])
        print(f"{environment()}, onnxruntime {found['version']} in an environment without torch")
        print(f"export_onnx checked {check.n_rows} rows: {check.score_difference:.1e} of the standard deviation")
        features = run_onnx(python, folder / "features.onnx", folder / "new.npy", folder / "features.npz")["features"]
        print(f"features: largest difference {np.abs(features - expected['features']).max():.1e}")
        compare("1,000 images at the encoder's size, arrays", found, expected, detector)
        files = write_files(folder / "whole", images, resized=False)
        compare(
            "the same as PNG files, examples/score_with_onnx.py",
            run_example(python, folder / "model.onnx", files),
            expected,
            detector,
        )
        files = write_files(folder / "resized", images, resized=True)
        expected_resized = decide(pipeline, folder / "resized")
        compare(
            "PNG files of 33 to 200 pixels a side, which Pillow resizes in the example",
            run_example(python, folder / "model.onnx", files),
            expected_resized,
            detector,
        )
        report_speed(seconds, len(images))


if __name__ == "__main__":
    main()
