"""Data: bundled features and readers of images."""

from skcnf.datasets._cifar100 import CIFAR100_CLASSES, CIFAR100_SUPERCLASSES
from skcnf.datasets._features import (
    CIFAR10_CLASSES,
    LabelledFeatures,
    load_cifar10_features,
    round_as_bundled,
    save_features,
)
from skcnf.datasets._labelled import LabelledImages, featurize_images, flatten_images, stack_labelled_images
from skcnf.datasets._loaders import IMAGE_DATASETS, DataNotFoundError, load_image_dataset, load_image_folder
from skcnf.images import load_images, read_sheets

__all__ = [
    "CIFAR10_CLASSES",
    "CIFAR100_CLASSES",
    "CIFAR100_SUPERCLASSES",
    "IMAGE_DATASETS",
    "DataNotFoundError",
    "LabelledFeatures",
    "LabelledImages",
    "featurize_images",
    "flatten_images",
    "load_cifar10_features",
    "load_image_dataset",
    "load_image_folder",
    "load_images",
    "read_sheets",
    "round_as_bundled",
    "save_features",
    "stack_labelled_images",
]
