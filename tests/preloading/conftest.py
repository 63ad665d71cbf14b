import pytest

from .place import Place


@pytest.fixture
def place(tmp_path):
    """A place with a server."""
    created = Place(tmp_path / "with blanks")
    yield created
    created.close()
