"""Settings of all tests, and the official data that some of them read."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.samples import SHARED

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workflow: runs the workflow, which takes minutes; such files start first")
    config.addinivalue_line("markers", "long: of a file that takes minutes too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("workflow", "long"))))


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Ctrl-C and the end of a terminal reach what a test starts, though the tests be in the background or of nohup."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared() -> Callable[..., Path]:
    """Path of a file of real annotations or published predictions; skips the test where it is absent."""

    def locate(*parts: str) -> Path:
        path = SHARED.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
        return path

    return locate
