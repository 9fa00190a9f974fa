import numpy as np
import pytest
import torch
from joblib.externals.loky import reusable_executor

torch.set_num_threads(1)  # small products: threads only get in each other's way


@pytest.fixture(autouse=True, scope="module")
def _a_process_pool_of_its_own():
    """Tests that kill workers must not hand what is left of joblib's pool to those of another module."""
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)


@pytest.fixture(autouse=True)
def _one_thread():
    """Models of pyod raise torch's number of threads, and with it the order of sums, for every test after them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_generators_are_left_alone(request):
    """No test, hence nothing in the library, may move the global generators."""
    if request.node.get_closest_marker("moves_generators"):
        yield
        return
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()
    yield
    numpy_after = np.random.get_state()
    assert np.array_equal(numpy_before[1], numpy_after[1])
    assert numpy_before[2] == numpy_after[2]
    assert torch.equal(torch_before, torch.get_rng_state())


@pytest.fixture(scope="session")
def rows():
    """Inliers in a corner of broad auxiliary rows, and anomalies from the latter: (X, X_aux, X_test, y_test)."""
    rng = np.random.default_rng(0)
    X, X_aux = rng.normal(1.0, 0.5, (600, 4)), rng.normal(0.0, 2.0, (2000, 4))
    X_test = np.concatenate([rng.normal(1.0, 0.5, (300, 4)), rng.normal(0.0, 2.0, (300, 4))])
    return X, X_aux, X_test, np.repeat([1, -1], 300)


@pytest.fixture(scope="session")
def cluster():
    """A Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    quiet = {"silence_logs": "CRITICAL", "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet) as cluster:
        yield cluster
