"""The data sets of the tables, loaded once: under the bundled encoder, all rounded alike, or as pixels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skcnf.datasets import (
    DataNotFoundError,
    LabelledFeatures,
    featurize_images,
    flatten_images,
    load_cifar10_features,
    load_image_dataset,
    round_as_bundled,
    stack_labelled_images,
)
from skcnf.paper._layouts import Study
from skcnf.paper._variants import add_anomalies, limit_aux, limit_inliers, noise_images, other_classes_as_aux

if TYPE_CHECKING:
    from skcnf.moco import MocoFeaturizer

__all__ = ["BenchmarkData"]

_N_NOISE = 30_000  # as many images of noise as there are bundled auxiliary rows


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
        """Rows of a data set; the bundled auxiliary rows come with all features but pixels and images.

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
        if dataset == "cifar10" and features not in ("images", "pixels"):
            return load_cifar10_features(normalize=features == "moco")
        if self.root is None:
            raise DataNotFoundError(f"the images of {dataset} are wanted; name their folder")
        images = load_image_dataset(dataset, self.root)
        if features in ("images", "pixels"):
            return stack_labelled_images(images) if features == "images" else flatten_images(images)
        rows = featurize_images(images, self._featurizer(), features=features)
        X_train, X_test = (round_as_bundled(X, features == "moco") for X in (rows.X_train, rows.X_test))
        X_aux = load_cifar10_features(normalize=features == "moco").X_aux
        return dataclasses.replace(rows, X_train=X_train, X_test=X_test, X_aux=X_aux)

    def parts(
        self, study: Study, classes: Sequence[str] | None = None
    ) -> Iterator[tuple[LabelledFeatures, Sequence[str] | None]]:
        """Yield the rows of a study, changed as it asks, with the inlier classes that they are for.

        There is one part, or one for each class where the auxiliary rows depend on the inlier class.

        Raises
        ------
        DataNotFoundError
            If images that the study needs are not at hand.
        """
        rows = self._changed(study)
        if study.aux != "other classes":
            yield rows, classes
            return
        for name in classes or rows.class_names:
            yield other_classes_as_aux(rows, name, study.n_aux), [name]

    def _changed(self, study: Study) -> LabelledFeatures:
        rows = self.load(study.dataset, study.features)
        if len(rows.X_train) == 0 or len(rows.X_test) == 0:
            raise DataNotFoundError(f"{rows.name}: of its images only one split is there")
        if study.aux == "celeba":
            rows = dataclasses.replace(rows, X_aux=self.load("celeba", study.features).X_train)
        if study.aux == "noise":
            rows = dataclasses.replace(rows, X_aux=self._noise(study.features, study.n_aux or _N_NOISE))
        if study.n_inliers is not None:
            rows = limit_inliers(rows, study.n_inliers)
        if study.anomaly_share > 0:
            rows = add_anomalies(rows, study.anomaly_share, study.anomaly_kind)
        return rows if study.n_aux is None else limit_aux(rows, study.n_aux)

    def _noise(self, features: str, n: int) -> np.ndarray:
        """Features of images of noise."""
        images = noise_images(n)
        return round_as_bundled(self._featurizer().fit_transform(images), features == "moco")

    def _featurizer(self) -> MocoFeaturizer:
        from skcnf.moco import MocoFeaturizer

        return MocoFeaturizer(normalize=False, device=self.device, memory=self.cache)
