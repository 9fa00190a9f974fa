"""The paper's tables: the studies that each needs, and how it is laid out.

Table 6 lists settings. Tables 12 to 15 repeat others with the spread over three runs, which all tables here give.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from skcnf.datasets import CIFAR10_CLASSES
from skcnf.paper._layouts import Layout, Study
from skcnf.paper._lineup import IMAGE_DETECTORS, MAIN_DETECTORS, TABLE1_DETECTORS

__all__ = ["OTHER_FIVE", "TABLES", "TUNING_CLASSES", "main_layout"]

# The classes whose training images chose the defaults (docs/defaults.rst); tables of all ten give the others' mean too.
TUNING_CLASSES = ("plane", "bird", "deer", "frog", "ship")
OTHER_FIVE = {"mean of other 5": tuple(name for name in CIFAR10_CLASSES if name not in TUNING_CLASSES)}
_PYOD_TABLE7 = ("COPOD", "INNE", "LOF", "MCD", "IForest", "Sampling", "ABOD", "KDE", "PCA", "KNN")
_OTHERS = ("CIFAR-100", "SVHN", "CelebA")
_SUPERCLASSES = tuple(str(number) for number in range(20))
_TABLE4 = (
    *("CF", "OE", "Flow", "Flow-ratio", "MSE", "MSE-ratio"),
    *("Gaussian", "Gaussian-ratio", "KNN", "PCA", "KDE"),
)
_TABLE5 = ("CF", "OE", "Flow", "Flow-ratio", "LOF", "ABOD", "MCD", "KNN")
_TABLE3 = ("CF", "CF (Table 6)", "OE", "Flow", "Flow-ratio", "MSE", "MSE-ratio")
_COPOD_NOTE = (
    "COPOD: a row is ranked among the training rows alone; pyod's own ranks it among all rows scored with it too."
)
_TABLE9 = ("LOF", "ABOD", "MCD", "LODA", "KNN")
_TABLE10 = ("KNN", "LOF", "IForest", "LODA", "MCD")


def _one_vs_rest(dataset: str, detectors: tuple[str, ...], **options: Any) -> Study:
    return Study(dataset, "one-vs-rest", detectors, **options)


def _against_others(detectors: tuple[str, ...], features: str = "moco") -> Study:
    return Study("cifar10", "dataset-vs-dataset", detectors, features, anomalies=("cifar100", "svhn", "celeba"))


def _by_features(dataset: str, detectors: tuple[str, ...]) -> tuple[Study, ...]:
    pixels = tuple(name for name in detectors if name != "MCD")  # as in the paper
    return (
        *(_one_vs_rest(dataset, (*detectors, "CF"), features=features) for features in ("moco", "moco-raw")),
        _one_vs_rest(dataset, pixels, features="pixels"),  # last: it takes longest
    )


def _for_both_features(*names: str) -> tuple[str, ...]:
    return tuple(f"{features}, {name}" for features in ("not normalised", "normalised") for name in names)


TABLES: dict[int, Layout] = {
    int(table.number or 0): table
    for table in (
        Layout(
            "Table 1: AUROC in %, CIFAR-10 one-vs-rest",
            (
                _one_vs_rest("cifar10", TABLE1_DETECTORS),
                _one_vs_rest("cifar10", IMAGE_DETECTORS, features="images"),
            ),
            (*TABLE1_DETECTORS, *IMAGE_DETECTORS),
            CIFAR10_CLASSES,
            mean="columns",
            number=1,
            groups=OTHER_FIVE,
        ),
        Layout(
            "Table 2: AUROC in %, CF, CIFAR-10, inlier class down, anomaly class across; marked: below 90",
            (_one_vs_rest("cifar10", ("CF",), pairs=True),),
            CIFAR10_CLASSES,
            (*CIFAR10_CLASSES, "mean"),
            row="{inlier_class}",
            column="{anomalies}",
            best="below 90",
            number=2,
        ),
        Layout(
            "Table 3: AUROC in %, CIFAR-10 against other data sets",
            (_against_others(_TABLE3),),
            _TABLE3,
            _OTHERS,
            column="{anomalies}",
            mean="columns",
            number=3,
        ),
        Layout(
            "Table 4: AUROC in %, CIFAR-100 superclasses one-vs-rest",
            (
                _one_vs_rest("cifar100-superclasses", _TABLE4),
                _one_vs_rest("cifar100-superclasses", ("CSI",), features="images"),
            ),
            (*_TABLE4, "CSI"),
            _SUPERCLASSES,
            column="{class_number}",
            mean="columns",
            number=4,
        ),
        Layout(
            "Table 5: AUROC in %, CelebA, one class of the attribute Male against the other",
            (
                Study("celeba", "class-vs-class", _TABLE5),
                Study("celeba", "class-vs-class", ("CSI",), features="images"),
            ),
            (*_TABLE5, "CSI"),
            ("female", "male"),
            mean="columns",
            number=5,
        ),
        *(
            Layout(
                f"Table {number}: mean AUROC in %, {name} one-vs-rest, by features",
                _by_features(dataset, _PYOD_TABLE7),
                (*_PYOD_TABLE7, "CF"),
                ("pixels", "not normalised", "normalised"),
                column="{features}",
                number=number,
                notes=(_COPOD_NOTE,),
            )
            for number, dataset, name in ((7, "cifar10", "CIFAR-10"), (8, "cifar100-superclasses", "CIFAR-100"))
        ),
        Layout(
            "Table 9: AUROC in %, CelebA, one class of the attribute Male against the other, by features",
            tuple(Study("celeba", "class-vs-class", _TABLE9, features) for features in ("moco-raw", "moco")),
            _TABLE9,
            _for_both_features("male", "female"),
            column="{features}, {inlier_class}",
            number=9,
        ),
        Layout(
            "Table 10: AUROC in %, CIFAR-10 against other data sets, by features",
            tuple(_against_others(_TABLE10, features) for features in ("moco-raw", "moco")),
            _TABLE10,
            _for_both_features(*_OTHERS),
            column="{features}, {anomalies}",
            number=10,
        ),
        Layout(
            "Table 11: mean AUROC in %, one-vs-rest, with and without normalisation of the features",
            tuple(
                _one_vs_rest(dataset, ("MSE", "CF"), features=features)
                for dataset in ("cifar10", "cifar100-superclasses")
                for features in ("moco-raw", "moco")
            ),
            ("CIFAR-10", "CIFAR-100"),
            _for_both_features("MSE", "CF"),
            row="{dataset}",
            column="{features}, {detector}",
            best="row",
            number=11,
        ),
        *(
            Layout(
                f"Table {number}: AUROC in %, {name} one-vs-rest, mean and spread over seeds",
                (_one_vs_rest(dataset, ("Flow", "Flow-ratio", "CF")),),
                classes,
                ("Flow", "Flow-ratio", "CF"),
                row=row,
                column="{detector}",
                mean="rows",
                best="row",
                number=number,
            )
            for number, dataset, name, classes, row in (
                (12, "cifar10", "CIFAR-10", CIFAR10_CLASSES, "{inlier_class}"),
                (13, "cifar100-superclasses", "CIFAR-100 superclasses", _SUPERCLASSES, "{class_number}"),
            )
        ),
        Layout(
            "Table 14: AUROC in %, CelebA, one class of the attribute Male against the other, spread over seeds",
            (Study("celeba", "class-vs-class", ("Flow", "Flow-ratio", "CF")),),
            ("Flow", "Flow-ratio", "CF"),
            ("female", "male"),
            number=14,
        ),
        Layout(
            "Table 15: AUROC in %, CIFAR-10 against other data sets, spread over seeds",
            (_against_others(("MSE", "Flow", "Flow-ratio", "CF")),),
            ("MSE", "Flow", "Flow-ratio", "CF"),
            _OTHERS,
            column="{anomalies}",
            mean="columns",
            number=15,
        ),
    )
}


def main_layout(detectors: Iterable[str] = MAIN_DETECTORS, classes: Iterable[str] = CIFAR10_CLASSES) -> Layout:
    """Table 1 for some detectors and classes, without the paper's figures, with the epochs that the flows took."""
    detectors, classes = tuple(detectors), tuple(dict.fromkeys(classes))
    of_features = tuple(name for name in detectors if name not in IMAGE_DETECTORS)
    of_images = tuple(name for name in detectors if name in IMAGE_DETECTORS)
    studies = (_one_vs_rest("cifar10", of_features), _one_vs_rest("cifar10", of_images, features="images"))
    return replace(
        TABLES[1],
        caption="AUROC in %, CIFAR-10 one-vs-rest, features under the bundled encoder",
        studies=tuple(study for study in studies if study.detectors),
        rows=detectors,
        columns=classes,
        number=None,
        epochs=True,
        notes=(
            "marked: the best of a column; epochs: mean over classes and seeds of the epoch whose weights were kept",
        ),
    )
