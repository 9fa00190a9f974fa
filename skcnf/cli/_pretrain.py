"""The command ``pretrain``: a MoCo encoder from unlabelled images."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from skcnf.cli._arguments import count, jobs, seed
from skcnf.cli._names import GO_ON

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from skcnf.moco import EncoderSpec, PretrainConfig

__all__ = ["add_pretrain"]

_OF_NEW_ENCODERS = ("arch", "width", "image_size")
_IN_MEMORY_BYTES = 4 * 2**30  # pretraining images beyond this are memory-mapped


def add_pretrain(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "pretrain",
        help="train or fine-tune a MoCo encoder on your own unlabelled images",
        description="Train a MoCo encoder on a folder or zip of unlabelled images, from scratch or from other weights. "
        "Prints, every epoch, the loss in nats, alignment (squared distance of two views of an image) and uniformity "
        "(lower is more even; both without labels) and the throughput. OUTPUT.checkpoint is replaced after every "
        "epoch, and the same command goes on from it. Under torchrun the processes share every batch.",
    )
    command.add_argument("images", type=Path, help="a folder of images, searched through, or a zip")
    command.add_argument("-o", "--output", type=Path, required=True, help="encoder to write: .safetensors or .pth")
    command.add_argument("--init", metavar="WEIGHTS", help="start from a bundled or official name, or an encoder file")
    command.add_argument("--resume", action="store_true", help="changes nothing: a cut run is always resumed")
    command.add_argument("--low-res", type=count, metavar="PX", help="shrink images first, then enlarge them again")
    command.add_argument("--recipe", choices=("small", "v1", "v2"), help="default: small up to 64 px, else v2")
    command.add_argument("--arch", help="without --init: resnet10, 18, 34, 50 (default: resnet18)")
    command.add_argument("--width", type=count, help="without --init: first channels (default: 64)")
    command.add_argument("--image-size", type=count, metavar="PX", help="without --init (default: 32)")
    command.add_argument("--epochs", type=count, default=200, help="default: 200")
    command.add_argument("--batch-size", type=count, default=256, help="over all processes (default: 256)")
    command.add_argument("--learning-rate", type=float, help="default: the recipe's")
    command.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="bfloat16 is twice as fast on many CPUs (default: auto, bfloat16 on GPUs that have it)",
    )
    command.add_argument("--symmetric", action="store_true", help="both views serve as query and as key")
    command.add_argument("--seed", type=seed, default=0, help="default: 0")
    command.add_argument("--n-jobs", type=jobs, metavar="N", help="threads that decode (default: one)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.set_defaults(run=_pretrain, kept=f"finished epochs are kept in OUTPUT.checkpoint; {GO_ON}")


def _pretrain(args: argparse.Namespace) -> int:
    from skcnf._core.locks import output_lock
    from skcnf.moco import check_encoder_path

    check_encoder_path(args.output)
    start, config = _start_and_recipe(args)
    is_first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started
    with output_lock(args.output) if is_first else nullcontext():
        return _pretrain_alone(args, start, config)


def _pretrain_alone(args: argparse.Namespace, start: EncoderSpec | nn.Module, config: PretrainConfig) -> int:
    from skcnf.moco import World, pretrain, process_group, save_encoder

    with process_group(args.device) as device:
        images = _pretraining_images(args, _spec(start).image_size)
        encoder, history = pretrain(
            images, start, config, device=device, checkpoint=_checkpoint(args), on_epoch=_print_epoch, verbose=True
        )
        if World.current().rank == 0:
            save_encoder(encoder, args.output)
            for leftover in (_checkpoint(args), *_stored_images(args)):
                leftover.unlink(missing_ok=True)
            print(f"{args.output}: {_spec(encoder).arch} after {len(history)} epochs of {len(images)} images")
            if args.low_res is not None:
                print(f"featurise at the same resolution: --low-res {args.low_res}, low_res_size={args.low_res}")
    return 0


def _start_and_recipe(args: argparse.Namespace) -> tuple[EncoderSpec | nn.Module, PretrainConfig]:
    from skcnf.moco import PretrainConfig, resolve_weights

    given = [f"--{name.replace('_', '-')}" for name in _OF_NEW_ENCODERS if getattr(args, name) is not None]
    if args.init is not None and given:
        raise ValueError(f"{', '.join(given)} cannot be used with --init, whose encoder has them already.")
    start = _new_encoder(args) if args.init is None else resolve_weights(args.init)
    recipe = args.recipe or ("small" if _spec(start).image_size <= 64 else "v2")
    changes = {name: getattr(args, name) for name in ("epochs", "batch_size", "precision", "symmetric", "seed")}
    if args.learning_rate is not None:
        changes["learning_rate"] = args.learning_rate
    recipes: dict[str, Callable[..., PretrainConfig]] = {
        "small": PretrainConfig,
        "v1": PretrainConfig.moco_v1,
        "v2": PretrainConfig.moco_v2,
    }
    return start, recipes[recipe](low_res_size=args.low_res, **changes)


def _new_encoder(args: argparse.Namespace) -> EncoderSpec:
    from skcnf.moco import EncoderSpec

    arch, width, size = args.arch or "resnet18", args.width or 64, args.image_size or 32
    stem = "small" if size <= 64 else "imagenet"
    head = "mlp" if args.recipe == "v2" else "linear"
    return EncoderSpec(arch, width, stem, head, image_size=size)


def _spec(encoder: EncoderSpec | nn.Module) -> EncoderSpec:
    from skcnf.moco import EncoderSpec

    spec = encoder if isinstance(encoder, EncoderSpec) else encoder.spec
    if not isinstance(spec, EncoderSpec):
        raise ValueError(f"--init: only ResNets with a MoCo head can be trained further, and this is none: {spec}.")
    return spec


def _pretraining_images(args: argparse.Namespace, image_size: int) -> np.ndarray:
    """All images at the size they are trained at (low_res_size where given), in memory or, if large, beside OUTPUT."""
    import numpy as np

    from skcnf.images import digest, image_source, load_images
    from skcnf.moco import World

    source, size, world = image_source(args.images), args.low_res or image_size, World.current()
    large = len(source) * size * size * 3 > _IN_MEMORY_BYTES
    if not large and world.size == 1:
        return load_images(source, size, n_jobs=args.n_jobs, verbose=True)
    # The name tells the images: a cut run on other images left another file.
    stored = args.output.with_name(f"{args.output.name}.images-{size}px-{digest(source)}.npy")
    if world.rank == 0 and not stored.exists():
        load_images(source, size, stored, n_jobs=args.n_jobs, verbose=True)
    world.wait()
    return np.load(stored, mmap_mode="r", allow_pickle=False)


def _checkpoint(args: argparse.Namespace) -> Path:
    return args.output.with_name(f"{args.output.name}.checkpoint")


def _stored_images(args: argparse.Namespace) -> list[Path]:
    return list(args.output.parent.glob(f"{glob.escape(args.output.name)}.images-*.npy*"))


def _print_epoch(record: dict[str, float]) -> None:
    print(
        f"epoch {record['epoch'] + 1:3d}  loss {record['loss']:.4f}  alignment {record['alignment']:.3f}  "
        f"uniformity {record['uniformity']:.3f}  {record['images_per_second']:,.0f} images/s",
        flush=True,
    )
