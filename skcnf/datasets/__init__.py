"""Data: bundled features and readers of images."""

from skcnf.datasets._features import CIFAR10_CLASSES, LabelledFeatures, load_cifar10_features, save_features
from skcnf.datasets._sheets import read_sheets

__all__ = ["CIFAR10_CLASSES", "LabelledFeatures", "load_cifar10_features", "read_sheets", "save_features"]
