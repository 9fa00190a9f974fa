"""Data: bundled features and readers of images."""

from skcnf._archives import read_sheets
from skcnf._images import load_images
from skcnf.datasets._features import CIFAR10_CLASSES, LabelledFeatures, load_cifar10_features, save_features

__all__ = [
    "CIFAR10_CLASSES",
    "LabelledFeatures",
    "load_cifar10_features",
    "load_images",
    "read_sheets",
    "save_features",
]
