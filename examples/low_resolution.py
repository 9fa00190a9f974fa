"""
Fine-tuning for low resolution (figure 5)
=========================================

Fine-tune an encoder on images shrunk and enlarged again, and see its features before and after.

An encoder trained on sharp images sees mostly blur when small images are enlarged to its size: all images look alike
to it. Training it a little longer on images that were shrunk and enlarged the same way mends that. Takes any folder or
zip of images; a random tenth is held out, and 200 of these make the figure::

    python examples/low_resolution.py IMAGES --low-res 8
"""

from __future__ import annotations

import argparse

import numpy as np

from skcnf import MocoFeaturizer
from skcnf.datasets import load_images
from skcnf.display import FeatureCorrelationDisplay
from skcnf.moco import PretrainConfig, pretrain, resolve_weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder or zip of images")
    parser.add_argument("--low-res", type=int, default=8, help="side in pixels that images are shrunk to")
    parser.add_argument("--n-images", type=int, default=20_000, help="at most so many are used")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--init", default="tinyimagenet32", help="weights to start from")
    parser.add_argument("--output", default="correlation.png")
    args = parser.parse_args()

    before = resolve_weights(args.init)
    images = load_images(args.images, before.spec.image_size, verbose=True)
    rng = np.random.default_rng(0)
    images = images[rng.permutation(len(images))[: args.n_images]]
    held_out, training = np.split(images, [len(images) // 10])
    config = PretrainConfig(epochs=args.epochs, learning_rate=0.03, low_res_size=args.low_res)
    after, history = pretrain(training, before, config, verbose=True)
    print(f"InfoNCE of the last epoch: {history[-1]['loss']:.2f} nats")

    features = {
        name: MocoFeaturizer(encoder, low_res_size=args.low_res).fit_transform(held_out[:200])
        for name, encoder in (("before fine-tuning", before), ("after", after))
    }
    display = FeatureCorrelationDisplay.from_features(features)
    display.figure_.savefig(args.output, dpi=150)
    for name, mean in display.mean_correlation.items():
        print(f"mean correlation of the features of different images, {name}: {mean:.3f}")
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()

# %%
# .. if-measured:: low-resolution/correlation.png
#
#    .. image:: ../results/low-resolution/correlation.png
#       :alt: Correlation of the features of different images, before and after fine-tuning.
