"""Threads of one core each: order, gradients, and the number of threads that is set back."""

import threading
import time

import pytest
import torch

from skcnf._core.threads import in_threads


@pytest.fixture(autouse=True)
def three_threads():
    torch.set_num_threads(3)


def test_results_come_in_the_order_of_the_items_from_threads_of_one_core():
    def run(item):
        return item, torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert list(in_threads(run, range(20), 2)) == [(item, 1, False) for item in range(20)]
    assert torch.get_num_threads() == 3


def test_no_gradient_is_recorded():
    weight = torch.ones(2, requires_grad=True)
    assert not any(out.requires_grad for out in in_threads(lambda item: weight * item, range(4), 2))


def test_the_number_of_threads_is_set_back_after_an_error():
    with pytest.raises(RuntimeError, match="item 0"):
        list(in_threads(_fail, range(4), 2))
    assert torch.get_num_threads() == 3


def test_the_number_is_set_back_last_even_where_a_thread_begins_late(monkeypatch):
    own, calls, lock = torch.set_num_threads, [], threading.Lock()

    def slow_in_the_second_thread(number):
        with lock:
            is_second = number == 1 and 1 in calls
            calls.append(number)
        if is_second:
            time.sleep(0.3)  # the first has failed by then
            calls.append(number)
        own(number)

    monkeypatch.setattr(torch, "set_num_threads", slow_in_the_second_thread)
    with pytest.raises(RuntimeError):
        list(in_threads(_fail, range(2), 2))
    assert calls[-1] == 3


def _fail(item):
    time.sleep(0.05)
    raise RuntimeError(f"item {item}")
