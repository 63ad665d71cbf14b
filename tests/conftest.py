"""Settings of all tests."""

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workflow: runs the workflow, which takes minutes; such files start first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
