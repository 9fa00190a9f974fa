"""Scores 1,000 images with an exported model where torch is not installed; `benchmarks/onnx_export.py` calls it.

python benchmarks/onnx_runtime.py MODEL.onnx IMAGES.npy OUTPUT.npz
"""

from __future__ import annotations

import importlib.util
import sys
import time

import numpy as np
import onnxruntime

BATCH = 256


def main():
    installed = [name for name in ("torch", "sklearn", "skcnf") if importlib.util.find_spec(name)]
    if installed:
        raise SystemExit(f"{installed} are installed here; this is to run without them")
    model, images, output = sys.argv[1:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    rows = np.load(images)
    session.run(None, {name: rows[:BATCH]})
    start = time.perf_counter()
    parts = [session.run(None, {name: rows[first : first + BATCH]}) for first in range(0, len(rows), BATCH)]
    seconds = time.perf_counter() - start
    names = [given.name for given in session.get_outputs()]
    results = {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}
    np.savez(output, seconds=seconds, version=onnxruntime.__version__, **results)


if __name__ == "__main__":
    main()
