"""Settings of all tests, and the official data that some of them read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.samples import SHARED

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workflow: runs the workflow, which takes minutes; such files start first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(scope="session")
def shared() -> Callable[..., Path]:
    """Path of a file of real annotations or published predictions; skips the test where it is absent."""

    def locate(*parts: str) -> Path:
        path = SHARED.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
        return path

    return locate
