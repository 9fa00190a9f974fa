"""One file of every format: how to write it, how to read it, and when what was read is right."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pyod.models.knn import KNN
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skcnf import ContrastiveFlowDetector, GOADDetector, MocoFeaturizer, MSEDetector, PyODDetector, info, load, save
from skcnf._core.container import read_container
from skcnf._core.generators import seeded
from skcnf._core.row_files import RowFile
from skcnf.evaluation._results import KEY, ResultLog
from skcnf.moco import EncoderSpec, PretrainConfig, build_encoder, load_encoder, pretrain, save_encoder
from skcnf.moco._checkpoints import read_checkpoint
from skcnf.moco._pretraining import _Run
from skcnf.saving._estimators import estimator_node
from skcnf.saving._kinds import Store

_SPEC = EncoderSpec("resnet10", width=8, stem="strided", out_features=6, image_size=16)


def _digest(*parts) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return hasher.hexdigest()


def _state(state) -> list:
    return [part for name in sorted(state) for part in (name, state[name].numpy())]


@dataclass
class Format:
    """A file in a folder of its own."""

    folder: Path

    def __post_init__(self):
        self.folder.mkdir(parents=True)
        self.path = self.folder / self.file
        self.write()
        self.files = {path: path.read_bytes() for path in self.folder.iterdir()}
        self.expected = self.read()

    file = "x"

    @property
    def name(self):
        return type(self).__name__

    def restore(self):
        """The folder as `write` left it."""
        for path in self.folder.iterdir():
            if path not in self.files:
                path.unlink()
        for path, data in self.files.items():
            path.write_bytes(data)

    def is_right(self, content):
        return content == self.expected


class Model(Format):
    file = "model.skcnf"

    def fit(self):
        X = np.random.default_rng(0).normal(size=(100, 4))
        return MSEDetector(false_alarm_rate=0.2, random_state=0).fit(X).recalibrate(X, groups=["a", "b"] * 50)

    def write(self):
        save(self.fit(), self.path)

    def read(self):
        store = Store()
        node = estimator_node(load(self.path), "", store)
        return _digest(json.dumps(node), json.dumps(info(self.path)), *_state(store.tensors))


class Flow(Model):
    def fit(self):
        rng = np.random.default_rng(0)
        detector = ContrastiveFlowDetector(n_blocks=2, hidden_units=16, max_epochs=2, device="cpu", random_state=0)
        return detector.fit(rng.normal(size=(400, 4)), X_aux=rng.normal(size=(200, 4), scale=3))


class Goad(Model):
    def fit(self):
        detector = GOADDetector(n_transforms=8, n_layers=2, device="cpu", random_state=0)
        return detector.fit(np.random.default_rng(0).normal(size=(200, 4)))


class Knn(Model):
    def fit(self):
        return PyODDetector(KNN(), random_state=0).fit(np.random.default_rng(0).normal(size=(200, 4)))


class Bundle(Model):
    """Of six megabytes: the bundled encoder, thumbnails, PCA and a detector."""

    weights = "tinyimagenet32"

    def fit(self):
        images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
        detector = MSEDetector(false_alarm_rate=0.5, random_state=0)
        return make_pipeline(MocoFeaturizer(self.weights, device="cpu"), PCA(4, random_state=0), detector).fit(images)

    def write(self):
        save(self.fit(), self.path, thumbnails=np.zeros((20, 32, 32, 3), np.uint8), about={"n_training_images": 40})


def _encoder():
    with seeded(0):
        return build_encoder(_SPEC).eval()


class SmallBundle(Bundle):
    @property
    def weights(self):
        return _encoder()


class Encoder(Format):
    file = "encoder.safetensors"

    def write(self):
        save_encoder(_encoder(), self.path)

    def read(self):
        encoder = load_encoder(self.path)
        return _digest(repr(encoder.spec), *_state(encoder.state_dict()))


class OfficialEncoder(Encoder):
    file = "encoder.pth"


class Checkpoint(Format):
    file = "encoder.checkpoint"
    config = PretrainConfig(epochs=1, batch_size=16, queue_size=16, n_splits=1)
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)

    def write(self):
        pretrain(self.images, _SPEC, self.config, device="cpu", checkpoint=self.path)
        self.run = _Run(self.images, _SPEC, self.config, torch.device("cpu"))
        _, header, _ = read_container(self.path, ["skcnf-pretraining-1"])
        self.identity = header["run"]

    def read(self):
        run = self.run
        history = read_checkpoint(self.path, self.identity, run.model, run.optimizer)
        momentum = {str(n): state["momentum_buffer"] for n, state in run.optimizer.state_dict()["state"].items()}
        return _digest(json.dumps(history), *_state(run.model.state_dict()), *_state(momentum))


class FeatureState(Format):
    """The state of a cut run: what cannot be used is made anew, to the same bytes."""

    file = "x.npy.part.json"
    rows = np.arange(400, dtype=np.float32).reshape(100, 4)

    def _rows(self):
        return RowFile(self.folder / "x.npy", (100, 4), "float32", "identity")

    def write(self):
        with self._rows() as rows:
            rows.append(self.rows[:60])

    def read(self):
        with self._rows() as rows:
            rows.append(self.rows[rows.n_done :])
            rows.finish()
        content = (self.folder / "x.npy").read_bytes()
        self.restore()
        return content


class FeatureRows(FeatureState):
    file = "x.npy.part"


class Results(Format):
    """A table of which whole rows may be missing, as of a cut run, and none may be another."""

    file = "results.csv"

    def write(self):
        rng = np.random.default_rng(0)
        rows = [
            {name: f"{name}, {seed}" for name in KEY}
            | {"seed": seed, "auroc": rng.uniform(), "aupr": rng.uniform(), "fpr95": rng.uniform()}
            | {
                "fit_seconds": rng.uniform(),
                "score_seconds": 1.0,
                "n_epochs": float("nan"),
                "error": "E: no" * (seed % 2),
            }
            for seed in range(20)
        ]
        with ResultLog(self.path) as log:
            log.extend(rows)

    def read(self):
        return frozenset(map(repr, ResultLog(self.path)._rows.values()))

    def is_right(self, content):
        return content <= self.expected


FORMATS = [
    Model, Flow, Goad, Knn, SmallBundle, Bundle, Encoder, OfficialEncoder, Checkpoint, FeatureState, FeatureRows,
    Results,
]  # fmt: skip
