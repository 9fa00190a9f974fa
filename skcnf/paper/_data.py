"""The data sets of the tables, loaded once: under the bundled encoder, or as pixels."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from skcnf.datasets import (
    DataNotFoundError,
    LabelledFeatures,
    featurize_images,
    flatten_images,
    load_cifar10_features,
    load_image_dataset,
)

__all__ = ["BenchmarkData"]


class BenchmarkData:
    """The data sets of the tables under the bundled encoder, or as pixels.

    CIFAR-10's features and the auxiliary rows are bundled. Everything else comes from images below ``root``.

    Parameters
    ----------
    root : path or None
        The folder of the data sets; see `skcnf.datasets.load_image_dataset`.
    device : str, default="auto"
        Where the encoder runs.
    cache : path or None
        A folder that keeps features of images from run to run.
    """

    def __init__(self, root: str | os.PathLike[str] | None, device: str = "auto", cache: Any = None) -> None:
        self.root, self.device, self.cache = root, device, cache
        self._loaded: dict[tuple[str, str], LabelledFeatures] = {}

    def load(self, dataset: str, features: str) -> LabelledFeatures:
        """Rows of a data set; the bundled auxiliary rows come with all features but pixels.

        Raises
        ------
        DataNotFoundError
            If its images are not at hand.
        """
        key = (dataset, features)
        if key not in self._loaded:
            self._loaded[key] = self._load(dataset, features)
        return self._loaded[key]

    def _load(self, dataset: str, features: str) -> LabelledFeatures:
        if dataset == "cifar10" and features != "pixels":
            return load_cifar10_features(normalize=features == "moco")
        if self.root is None:
            raise DataNotFoundError(f"the images of {dataset} are wanted; name their folder")
        images = load_image_dataset(dataset, self.root)
        if features == "pixels":
            return flatten_images(images)
        from skcnf.moco import MocoFeaturizer

        featurizer = MocoFeaturizer(normalize=features == "moco", device=self.device, memory=self.cache)
        X_aux = load_cifar10_features(normalize=features == "moco").X_aux
        return dataclasses.replace(featurize_images(images, featurizer, features=features), X_aux=X_aux)
