import numpy as np
import pytest
import torch

from skcnf import FlowDetector, MocoFeaturizer
from skcnf._core.devices import resolve_device


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "vulkan", "hpu"])
def test_devices_that_hold_no_numbers_are_refused(device):
    with pytest.raises(ValueError, match=f"device='{device}' was asked for, but torch cannot compute on it"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["tpu", None, "cpu:x"])
def test_what_is_no_device_is_named(device):
    with pytest.raises(ValueError, match=f"device={device!r} is not a device; use 'auto', 'cpu', 'cuda'"):
        resolve_device(device)


def test_estimators_refuse_meta(rows):
    with pytest.raises(ValueError, match="device='meta'"):
        FlowDetector(device="meta", random_state=0).fit(rows[0])
    with pytest.raises(ValueError, match="device='meta'"):
        MocoFeaturizer(device="meta").fit(np.zeros((2, 32, 32, 3), np.uint8))
