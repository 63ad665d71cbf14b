"""Operations and bytes of parts are those that can be counted by hand, and a tree adds up."""

import threading

import pytest
import torch

from sadetr.profiling.limits import Limits, measure_limits
from sadetr.profiling.parts import OperatorCounter, Parts, Total
from sadetr.profiling.report import part_rows, table

CPU = torch.device("cpu")


def test_operations_and_bytes_by_hand() -> None:
    parts = Parts(CPU)
    left, right = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7)
    with OperatorCounter(parts):
        with parts.part("forward"):
            product = left @ right
            with parts.part("view"):
                viewed = product.view(21)
        with parts.part("backward"):
            viewed.sum().backward()
    assert parts.totals["forward"].flops == 2 * 3 * 5 * 7
    assert parts.totals["forward"].moved == 4 * (15 + 35 + 21)
    assert parts.totals["forward/view"].moved == 0
    # The gradient of the left factor alone: (3, 7) times (7, 5).
    assert parts.totals["backward"].flops == 2 * 3 * 7 * 5


def test_parts_of_another_thread_stand_beside_the_root() -> None:
    parts = Parts(CPU)

    def gather() -> None:
        with parts.part("gathering"):
            pass

    with parts.part("training"):
        thread = threading.Thread(target=gather)
        thread.start()
        thread.join()
    assert set(parts.totals) == {"training", "gathering"}


def test_a_tree_adds_up() -> None:
    timed = {"training": Total(1, 3.0), "training/step": Total(2, 2.0), "training/step/forward": Total(2, 0.5)}
    counted = {"training/step": Total(2, 9.0, flops=20), "training/step/forward": Total(2, 9.0, flops=100, moved=10)}
    rows = {row.path: row for row in part_rows(timed, counted, Limits(100.0, 5.0), steps=2)}
    assert list(rows) == [
        "training",
        "training/step",
        "training/step/forward",
        "training/step/(rest)",
        "training/(rest)",
    ]
    assert rows["training"].milliseconds == 1500
    assert rows["training/step/(rest)"].milliseconds == 750
    assert rows["training"].flops == rows["training/step"].flops == 60
    # Two seconds of moving, and one of computing, in half a second: faster than the limit would be more than all.
    assert rows["training/step/forward"].of_limit == pytest.approx(2 / 0.5)
    assert rows["training/(rest)"].of_limit is None
    assert len(list(table(list(rows.values())))) == len(rows) + 1


def test_gathering_beside_the_loop_is_per_batch() -> None:
    """Of training and of validation, which are not as many."""
    timed = {"training": Total(1, 3.0), "gathering": Total(5, 1.0)}
    rows = {
        row.path: row for row in part_rows(timed, {"gathering": Total(5, 9.0, moved=10)}, Limits(1.0, 1.0), steps=2)
    }
    found = rows["gathering"]
    assert (found.calls, found.milliseconds, found.moved) == (1, pytest.approx(200), 2)


def test_limits_are_measured() -> None:
    limits = measure_limits(CPU)
    assert limits.flops_per_second > 0
    assert limits.least_seconds(limits.flops_per_second, 0) == 1
    assert limits.least_seconds(0, 2 * limits.bytes_per_second) == 2
