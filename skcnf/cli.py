"""The command line, over the public API. Heavy imports wait until a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from skcnf._benchmark import QUICK_CLASSES, run_benchmark

__all__ = ["main"]

# Known without loading what runs them.
_TABLES = [*range(1, 6), *range(7, 16)]
_ABLATIONS = ["noise", "clamp", "aux-weight", "aux-size", "epochs", "warmup", "flow-ratio", "normalisation", "ensemble"]
_IN_MEMORY_BYTES = 4 * 2**30  # pretraining images beyond this are memory-mapped


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"skcnf {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished rows are kept, run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skcnf", description="Anomaly detection with contrastive flows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_benchmark(commands)
    _add_features(commands)
    _add_pretrain(commands)
    return parser


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "benchmark",
        help="CIFAR-10 one-vs-rest on the bundled features: the AUROC table; the paper's tables and ablations",
        description="CIFAR-10 one-vs-rest on the bundled features. Prints the AUROC table and writes results.csv, "
        "table.txt and auroc.png. With --table or --ablation that table instead, with the paper's figures beside, as "
        ".txt, .csv, .rst and .tex. A run that was cut goes on where it stopped.",
    )
    command.add_argument(
        "--quick", action="store_true", help=f"one class ({', '.join(QUICK_CLASSES)}); under two minutes on 2 cores"
    )
    command.add_argument("--classes", type=_names, metavar="A,B", help="classes to take as inliers (default: all ten)")
    command.add_argument("--detectors", type=_names, metavar="A,B", help="rows of the table (default: all)")
    command.add_argument("--table", type=_table, metavar="N", help="table 1 to 5 or 7 to 15 of the paper, or 'all'")
    command.add_argument("--ablation", choices=_ABLATIONS, help="one choice varied")
    command.add_argument("--data", type=Path, metavar="DIR", help="where data sets of images are (see the guide)")
    command.add_argument("--seeds", type=_count, default=1, metavar="N", help="runs, with seeds 0 to N-1 (default: 1)")
    command.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="processes (default: -1, one a core)")
    command.add_argument("--device", default="auto", help="of the flows: auto, cpu, cuda (default: auto)")
    command.add_argument(
        "--engine",
        choices=("auto", "single", "batched"),
        default="auto",
        help="fit by fit, or all flows of a detector as one model (default: auto, batched on a GPU)",
    )
    command.add_argument("--output", type=Path, default=Path("results"), help="folder (default: results)")
    command.set_defaults(run=run_benchmark)


def _add_features(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "features",
        help="MoCo features of a folder or zip of images, as .npy",
        description="Featurise a folder or zip of images and write an array (n_images, n_features), in the order of "
        "the sorted paths. A run that was cut goes on where it stopped.",
    )
    command.add_argument("images", type=Path, help="a folder of images, searched through, or a zip")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .npy file to write")
    command.add_argument("--weights", default="tinyimagenet32", help="bundled or official name, or an encoder file")
    command.add_argument("--low-res", type=_count, metavar="PX", help="shrink images to this size first")
    command.add_argument("--n-jobs", type=int, metavar="N", help="processes that decode (default: this one)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.set_defaults(run=_features)


def _add_pretrain(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "pretrain",
        help="train or fine-tune a MoCo encoder on your own unlabelled images",
        description="Train a MoCo encoder on a folder or zip of unlabelled images, from scratch or from other weights. "
        "Prints, every epoch, the loss in nats, alignment (squared distance of two views of an image) and uniformity "
        "(lower is more even; both without labels) and the throughput. OUTPUT.checkpoint is replaced after every "
        "epoch; --resume goes on from it. Under torchrun the processes share every batch.",
    )
    command.add_argument("images", type=Path, help="a folder of images, searched through, or a zip")
    command.add_argument("-o", "--output", type=Path, required=True, help="encoder to write: .safetensors or .pth")
    command.add_argument("--init", metavar="WEIGHTS", help="start from a bundled or official name, or an encoder file")
    command.add_argument("--resume", action="store_true", help="go on from OUTPUT.checkpoint")
    command.add_argument("--low-res", type=_count, metavar="PX", help="shrink images first, then enlarge them again")
    command.add_argument("--recipe", choices=("small", "v1", "v2"), help="default: small up to 64 px, else v2")
    command.add_argument("--arch", default="resnet18", help="without --init: resnet10, 18, 34, 50 (default: resnet18)")
    command.add_argument("--width", type=_count, default=64, help="without --init: first channels (default: 64)")
    command.add_argument("--image-size", type=_count, default=32, metavar="PX", help="without --init (default: 32)")
    command.add_argument("--epochs", type=_count, default=200, help="default: 200")
    command.add_argument("--batch-size", type=_count, default=256, help="over all processes (default: 256)")
    command.add_argument("--learning-rate", type=float, help="default: the recipe's")
    command.add_argument("--symmetric", action="store_true", help="both views serve as query and as key")
    command.add_argument("--seed", type=int, default=0, help="default: 0")
    command.add_argument("--n-jobs", type=int, metavar="N", help="processes that decode (default: this one)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.set_defaults(run=_pretrain)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _table(text: str) -> int | str:
    if text != "all" and text not in map(str, _TABLES):
        raise argparse.ArgumentTypeError(f"{text!r} is no table with results; choose from {_TABLES}, or 'all'")
    return text if text == "all" else int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _features(args: argparse.Namespace) -> int:
    from skcnf._images import image_source
    from skcnf.features import MocoFeaturizer

    featurizer = MocoFeaturizer(
        args.weights, low_res_size=args.low_res, device=args.device, n_jobs=args.n_jobs, verbose=True
    )
    source = image_source(args.images)
    features = featurizer.fit(source).transform_to_file(source, args.output)
    print(f"{args.output}: {features.shape[0]} images, {features.shape[1]} features")
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from skcnf._distributed import World, process_group
    from skcnf.checkpoints import check_encoder_path, save_encoder
    from skcnf.pretraining import pretrain

    check_encoder_path(args.output)
    checkpoint = args.output.with_name(f"{args.output.name}.checkpoint")
    if checkpoint.exists() and not args.resume:
        raise ValueError(f"'{checkpoint}' is there from a run that was cut; go on with --resume, or delete it.")
    encoder, config = _encoder_and_recipe(args)
    with process_group(args.device) as device:
        images = _pretraining_images(args, getattr(encoder, "spec", encoder).image_size)
        encoder, history = pretrain(
            images, encoder, config, device=device, checkpoint=checkpoint, on_epoch=_print_epoch, verbose=True
        )
        if World.current().rank == 0:
            save_encoder(encoder, args.output)
            for leftover in (checkpoint, _stored_images(args)):
                leftover.unlink(missing_ok=True)
            print(f"{args.output}: {encoder.spec.arch} after {len(history)} epochs of {len(images)} images")
            if args.low_res is not None:
                print(f"featurise at the same resolution: --low-res {args.low_res}, low_res_size={args.low_res}")
    return 0


def _encoder_and_recipe(args: argparse.Namespace) -> tuple:
    from skcnf.checkpoints import resolve_weights
    from skcnf.encoders import EncoderSpec
    from skcnf.pretraining import PretrainConfig

    if args.init is not None:
        encoder = resolve_weights(args.init)
        spec = encoder.spec
    else:
        stem = "small" if args.image_size <= 64 else "imagenet"
        head = "mlp" if args.recipe == "v2" else "linear"
        spec = encoder = EncoderSpec(args.arch, args.width, stem, head, image_size=args.image_size)
    recipe = args.recipe or ("small" if spec.image_size <= 64 else "v2")
    changes = {name: getattr(args, name) for name in ("epochs", "batch_size", "symmetric", "seed")}
    if args.learning_rate is not None:
        changes["learning_rate"] = args.learning_rate
    make = {"small": PretrainConfig, "v1": PretrainConfig.moco_v1, "v2": PretrainConfig.moco_v2}[recipe]
    return encoder, make(low_res_size=args.low_res, **changes)


def _pretraining_images(args: argparse.Namespace, image_size: int) -> object:
    """All images at the size they are trained at (low_res_size where given), in memory or, if large, beside OUTPUT."""
    import numpy as np

    from skcnf._distributed import World
    from skcnf._images import image_source, load_images

    source, size, world = image_source(args.images), args.low_res or image_size, World.current()
    large = len(source) * size * size * 3 > _IN_MEMORY_BYTES
    if not large and world.size == 1:
        return load_images(source, size, n_jobs=args.n_jobs, verbose=True)
    stored = _stored_images(args)
    if world.rank == 0 and not (args.resume and stored.exists()):
        load_images(source, size, stored, n_jobs=args.n_jobs, verbose=True)
    world.wait()
    return np.load(stored, mmap_mode="r")


def _stored_images(args: argparse.Namespace) -> Path:
    return args.output.with_name(f"{args.output.name}.images.npy")


def _print_epoch(record: dict[str, float]) -> None:
    print(
        f"epoch {record['epoch'] + 1:3d}  loss {record['loss']:.4f}  alignment {record['alignment']:.3f}  "
        f"uniformity {record['uniformity']:.3f}  {record['images_per_second']:,.0f} images/s",
        flush=True,
    )
