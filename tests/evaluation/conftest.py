"""Real annotations and published predictions, which live outside the repository."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SADETR_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@pytest.fixture(scope="session")
def shared():
    """Path of a shared file; skips the test where the file is absent."""

    def locate(*parts: str) -> Path:
        path = SHARED.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
        return path

    return locate
