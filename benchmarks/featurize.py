"""Images per second of featurising and of pretraining, each beside the bare passes of its encoder, in one run.

Rounds of all rows follow each other, so that a busy machine slows all alike; given are medians of the rounds, their
range, and the median over rounds of the ratio to the bare pass of the same round.

    python benchmarks/featurize.py > docs/results/featurize.txt
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skcnf import MocoFeaturizer
from skcnf._core.devices import resolve_device
from skcnf.cli._benchmark import environment
from skcnf.moco import EncoderSpec, PretrainConfig, build_encoder, pretrain
from skcnf.moco._encoding import resolve_encoder

ROUNDS = 5
BATCH = 256


def seconds(function, device):
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def bare(encoder, size, n, device, *, backward=False):
    """Passes over ``n`` images in batches that are on the device, standardised and in the right layout."""
    encoder = encoder.to(device, memory_format=torch.channels_last)
    batch = torch.rand(min(BATCH, n), 3, size, size, device=device).contiguous(memory_format=torch.channels_last)

    def passes():
        with torch.set_grad_enabled(backward):
            for _ in range(n // len(batch)):
                out = encoder(batch)
                if backward:
                    out.square().mean().backward()
        return out

    return passes


def featurizing(name, weights, size, n, device, folder):
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    np.save(folder / "x.npy", images)
    mapped = np.load(folder / "x.npy", mmap_mode="r")
    files = folder / name.replace(" ", "-")
    files.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(files / f"{number}.jpg")
    encoder = resolve_encoder(weights)
    featurizer = MocoFeaturizer(encoder, image_size=size, batch_size=BATCH, device=device).fit(images)
    coarse = MocoFeaturizer(encoder, image_size=size, batch_size=BATCH, device=device, precision="bfloat16").fit(images)
    threaded = MocoFeaturizer(encoder, image_size=size, batch_size=BATCH, device=device, n_jobs=-1).fit(images)
    rows = {
        "bare forward pass": bare(encoder, size, n, device),
        "array": lambda: featurizer.transform(images),
        "array, in bfloat16": lambda: coarse.transform(images),
        "memory-mapped array": lambda: featurizer.transform(mapped),
        "memory map to file": lambda: featurizer.transform_to_file(mapped, folder / "features.npy"),
        "JPEG files, one thread": lambda: featurizer.transform(files),
        "JPEG files, a thread for each core": lambda: threaded.transform(files),
    }
    report(name, rows, n, device)


def pretraining(name, spec, n, device):
    images = np.random.default_rng(0).integers(0, 256, (n, spec.image_size, spec.image_size, 3), dtype=np.uint8)
    forward = bare(build_encoder(spec).train(), spec.image_size, n, device)
    backward = bare(build_encoder(spec).train(), spec.image_size, n, device, backward=True)
    config = PretrainConfig(epochs=1, batch_size=BATCH, queue_size=4096, n_splits=4)

    def bare_step():
        forward()
        backward()

    rows = {
        "bare passes (key forward; query forward and backward)": bare_step,
        "pretrain": lambda: pretrain(images, spec, config, device=device),
    }
    report(name, rows, n, device)


def report(name, rows, n, device):
    times = {row: [] for row in rows}
    for function in rows.values():
        function()
    for _ in range(ROUNDS):
        for row, function in rows.items():
            times[row].append(seconds(function, device))
    first = next(iter(times.values()))
    print(f"\n{name}, {n} images, batches of {BATCH}\n{'':54s} images/s   (range of rounds)     times the bare pass")
    for row, values in times.items():
        ratio = statistics.median(value / base for value, base in zip(values, first, strict=True))
        rate, low, high = (n / value for value in (statistics.median(values), max(values), min(values)))
        print(f"{row:54s} {rate:8.0f}   ({low:.0f} to {high:.0f}){'':6s} {ratio:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    device = resolve_device(parser.parse_args().device)
    print(environment())
    scale = 16 if device.type == "cuda" else 1
    with tempfile.TemporaryDirectory() as folder:
        featurizing("bundled encoder at 32 px", "tinyimagenet32", 32, 2048 * scale, device, Path(folder))
        resnet50 = build_encoder(EncoderSpec(head="mlp")).eval()
        featurizing("MoCo v2's ResNet-50 at 224 px", resnet50, 224, 32 * scale, device, Path(folder))
    spec = EncoderSpec("resnet18", width=32, stem="strided", image_size=32)
    pretraining("pretraining of the bundled architecture at 32 px", spec, 1024 * scale, device)


if __name__ == "__main__":
    main()
