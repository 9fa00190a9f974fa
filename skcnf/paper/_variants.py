"""Changes to a data set that ablations ask for: fewer rows, anomalies among the inliers, other auxiliary rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skcnf.datasets import LabelledFeatures

__all__ = ["add_anomalies", "limit_aux", "limit_inliers", "noise_images", "other_classes_as_aux"]


def limit_inliers(data: LabelledFeatures, n: int) -> LabelledFeatures:
    """Keep the first ``n`` training rows of each class."""
    kept = np.sort(np.concatenate([rows[:n] for rows in _rows_by_class(data)]))
    return replace(data, X_train=data.X_train[kept], y_train=data.y_train[kept])


def limit_aux(data: LabelledFeatures, n: int) -> LabelledFeatures:
    """Keep ``n`` auxiliary rows, drawn at random: the bundled ones lie class by class."""
    if data.X_aux is None or n >= len(data.X_aux):
        return data
    drawn = _drawn(np.arange(len(data.X_aux)), n, np.random.RandomState(0))
    return replace(data, X_aux=data.X_aux[np.sort(drawn)])


def add_anomalies(data: LabelledFeatures, share: float, kind: str = "test", seed: int = 0) -> LabelledFeatures:
    """Hide anomalies among the training rows of every class, so that they are ``share`` of them.

    Parameters
    ----------
    data : LabelledFeatures
        No test row is touched.
    share : float in [0, 1)
        The anomalies' share of a class's training rows afterwards.
    kind : {"test", "auxiliary"}, default="test"
        "test" takes training rows of the other classes, which are what the test split holds as anomalies. "auxiliary"
        takes auxiliary rows, the same for every class, and removes them from the auxiliary set.
    seed : int, default=0
        Draws the rows.

    Raises
    ------
    ValueError
        If ``kind`` is neither, ``share`` is out of range, or there are too few rows to draw from.
    """
    if kind not in ("test", "auxiliary") or not 0 <= share < 1:
        raise ValueError(f"kind={kind!r} must be 'test' or 'auxiliary', and share={share!r} in [0, 1).")
    random_state = np.random.RandomState(seed)
    return (_add_other_classes if kind == "test" else _add_aux)(data, share, random_state)


def _add_other_classes(data: LabelledFeatures, share: float, random_state: np.random.RandomState) -> LabelledFeatures:
    rows, labels = [np.arange(len(data.y_train))], [data.y_train]
    for number, inliers in enumerate(_rows_by_class(data)):
        others = np.flatnonzero(data.y_train != number)
        rows.append(_drawn(others, _n_added(len(inliers), share), random_state))
        labels.append(np.full(len(rows[-1]), number))
    return replace(data, X_train=data.X_train[np.concatenate(rows)], y_train=np.concatenate(labels))


def _add_aux(data: LabelledFeatures, share: float, random_state: np.random.RandomState) -> LabelledFeatures:
    X_aux = np.empty((0, data.X_train.shape[1]), np.float32) if data.X_aux is None else data.X_aux
    sizes = [_n_added(len(inliers), share) for inliers in _rows_by_class(data)]
    hidden = _drawn(np.arange(len(X_aux)), max(sizes), random_state)
    rows = np.concatenate([data.X_train, *(X_aux[hidden[:size]] for size in sizes)])
    labels = np.concatenate([data.y_train, np.repeat(np.arange(len(sizes)), sizes)])
    return replace(data, X_train=rows, y_train=labels, X_aux=np.delete(X_aux, hidden, axis=0))


def other_classes_as_aux(data: LabelledFeatures, inlier: str, n: int | None = None, seed: int = 0) -> LabelledFeatures:
    """Take training rows of all classes but ``inlier`` as the auxiliary set: the anomalies of the test split, in short.

    No method has such rows in earnest. The result is an upper bound of what an auxiliary set can give.
    """
    number = data.class_names.index(inlier) if inlier in data.class_names else -1
    others = np.flatnonzero(data.y_train != number)
    drawn = _drawn(others, len(others) if n is None else min(n, len(others)), np.random.RandomState(seed))
    return replace(data, X_aux=data.X_train[drawn])


def noise_images(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Images (n, size, size, 3) whose pixels are independent and uniform, uint8."""
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, 3), dtype=np.uint8)


def _rows_by_class(data: LabelledFeatures) -> list[np.ndarray]:
    return [np.flatnonzero(data.y_train == number) for number in range(len(data.class_names))]


def _n_added(n_inliers: int, share: float) -> int:
    return round(n_inliers * share / (1 - share))


def _drawn(rows: np.ndarray, n: int, random_state: np.random.RandomState) -> np.ndarray:
    if n > len(rows):
        raise ValueError(f"{n} anomalies cannot be drawn from {len(rows)} rows.")
    return random_state.permutation(rows)[:n]
