import re

import numpy as np
import pytest
from pyod.models.knn import KNN
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skcnf import ContrastiveFlowDetector, MSEDetector, PyODDetector, load_detector, save_detector
from tests.detectors.test_detectors import EVERY

OWN = [detector for detector in EVERY if not isinstance(detector, PyODDetector)]


@pytest.mark.parametrize("detector", OWN, ids=lambda detector: type(detector).__name__)
def test_saved_detectors_come_back_whole(detector, rows, tmp_path):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).fit(X, X_aux)
    save_detector(detector, tmp_path / "detector.safetensors")
    loaded = load_detector(tmp_path / "detector.safetensors")
    np.testing.assert_array_equal(loaded.decision_function(X_test), detector.decision_function(X_test))
    assert loaded.get_params() == detector.get_params()
    assert set(vars(loaded)) == set(vars(detector))
    assert str(getattr(loaded, "history_", None)) == str(getattr(detector, "history_", None))


def test_what_cannot_be_saved_is_named_and_leaves_no_file(rows, tmp_path):
    file = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match=r"PyODDetector cannot be saved without pickle; .* joblib.dump"):
        save_detector(PyODDetector(KNN(), random_state=0).fit(rows[0]), file)
    with pytest.raises(NotFittedError):
        save_detector(MSEDetector(), file)
    with pytest.raises(TypeError, match="the parameter random_state="):
        save_detector(MSEDetector(random_state=np.random.RandomState(0)).fit(rows[0]), file)
    assert not list(tmp_path.iterdir())


def test_foreign_files_are_named(tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=re.escape(f"'{file}' is not a readable safetensors file")):
        load_detector(file)
    save_file({"a": np.zeros(1)}, file)
    with pytest.raises(ValueError, match="no detector saved by skcnf"):
        load_detector(file)


def test_parameters_of_numpys_types_are_saved(rows, tmp_path):
    detector = ContrastiveFlowDetector(
        n_blocks=np.int64(1), hidden_units=8, max_epochs=1, learning_rate=np.float64(1e-3), random_state=0
    )
    save_detector(detector.fit(*rows[:2]), tmp_path / "x.safetensors")
    assert load_detector(tmp_path / "x.safetensors").n_blocks == 1
