"""What a store was made from is recognised by its content, and read again only where sizes or times differ."""

import os
from pathlib import Path

import pytest

from sadetr.data import manifest
from sadetr.data.inputs import Inputs, Reading, look, remember
from sadetr.errors import DataError

NAMES = ("annotations/own/train.jsonl", "features/own/clip/part/a.npz", "features/own/clip/b.npz")
BASE = "settings"


class Prepared:
    """Three files, a record of them, and a store that lists them."""

    def __init__(self, folder: Path) -> None:
        self.root, self.record, self.store = folder / "data", folder / "own.inputs.json", folder / "own"
        for name in NAMES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(f"content of {name}")
        reading = Reading(self.root)
        reading.of(NAMES)
        files = reading.finish()
        remember(self.record, Inputs(BASE, BASE, files))
        self.store.mkdir()
        entries = {name: known.entry for name, known in files.items()}
        (self.store / manifest.FILE).write_text(manifest.as_text(entries))

    def identity(self, root: Path | None = None, **options: bool) -> str:
        return look(self.record, root or self.root, BASE, self.store, **options).identity

    def overwrite(self, name: str = NAMES[2]) -> None:
        """Other bytes of the same number, with the times of file and folder restored."""
        file, folder = self.root / name, (self.root / name).parent
        before = [(path, path.stat()) for path in (file, folder)]
        text = file.read_text()
        with open(file, "r+") as content:
            content.write(text.swapcase())
        for path, status in before:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def prepared(tmp_path):
    return Prepared(tmp_path)


@pytest.fixture
def reads(monkeypatch):
    """Files whose content was read."""
    found = []
    checksum = manifest.sha256
    monkeypatch.setattr(manifest, "sha256", lambda file: found.append(file.name) or checksum(file))
    return found


def test_nothing_is_read_where_nothing_was_touched(prepared, reads):
    assert prepared.identity() == BASE
    (prepared.root / "features/own/clip/.DS_Store").write_text("x")
    (prepared.root / "features/own/clip/stranger.npz").write_text("x")
    os.utime(prepared.root / "features/own/clip")
    assert prepared.identity() == BASE
    assert reads == []


def test_other_spellings_and_links_are_the_same_files(prepared, reads, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(prepared.root)
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "link", Path("data"), Path("./data/../link")):
        assert prepared.identity(root) == BASE
    assert reads == []


def test_a_moved_folder_is_the_same_and_a_copy_is_read_once(prepared, reads, tmp_path):
    prepared.root.rename(tmp_path / "moved")
    assert prepared.identity(tmp_path / "moved") == BASE
    for name in NAMES:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes((tmp_path / "moved" / name).read_bytes())
    assert prepared.identity(tmp_path / "copy") == BASE
    assert len(reads) == len(NAMES)
    assert prepared.identity(tmp_path / "copy") == BASE
    assert len(reads) == len(NAMES)


def test_only_what_was_touched_is_read_and_said(prepared, reads, capsys):
    os.utime(prepared.root / NAMES[1])
    assert prepared.identity() == BASE
    assert reads == ["a.npz"]
    assert "own: 1 of 3 files have other times or sizes" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_a_file_overwritten_in_place_is_noticed_whatever_its_times_say(prepared, name):
    prepared.overwrite(name)
    changed = prepared.identity()
    assert changed != BASE
    assert prepared.identity() == changed  # until it is prepared again
    prepared.overwrite(name)
    assert prepared.identity() == BASE


def test_a_second_change_is_another_one(prepared):
    prepared.overwrite()
    first = prepared.identity()
    (prepared.root / NAMES[2]).write_text("a third content")
    assert prepared.identity() not in (BASE, first)


def test_what_is_unchanged_is_not_read_again_beside_a_change(prepared, reads):
    prepared.overwrite()
    os.utime(prepared.root / NAMES[0])
    prepared.identity()
    reads.clear()
    prepared.identity()
    assert reads == ["b.npz"]


def test_a_removed_file_is_named_unless_it_is_made_again(prepared):
    (prepared.root / NAMES[1]).unlink()
    found = look(prepared.record, prepared.root, BASE, prepared.store)
    assert found.removed == (NAMES[1],)
    assert found.identity != BASE
    assert prepared.identity(regenerated=True) == BASE


def test_other_settings_are_another_base(prepared):
    assert look(prepared.record, prepared.root, "other", prepared.store).identity == "other"


@pytest.mark.parametrize("damage", ["", "{", '{"files": {"a": [1]}}', "[]"])
def test_the_store_stands_in_for_a_lost_record(prepared, reads, damage):
    prepared.record.write_text(damage)
    assert prepared.identity() == BASE
    assert len(reads) == len(NAMES)
    assert prepared.identity() == BASE
    assert len(reads) == len(NAMES)
    prepared.record.unlink()
    prepared.overwrite()
    changed = prepared.identity()
    assert changed != BASE
    # A preparation begins by deleting the store, and must find the same.
    (prepared.store / manifest.FILE).unlink()
    assert prepared.identity() == changed


def test_without_store_and_record_there_is_nothing_to_compare(prepared, reads):
    prepared.record.unlink()
    (prepared.store / manifest.FILE).unlink()
    assert prepared.identity() == BASE
    assert reads == []


def test_a_record_that_cannot_be_renewed_costs_a_reading_each_time(prepared, reads, tmp_path):
    os.utime(prepared.root / NAMES[0])
    prepared.record.rename(tmp_path / "elsewhere.json")
    prepared.record = tmp_path / "elsewhere.json" / "no folder" / "own.inputs.json"
    assert prepared.identity() == BASE
    assert prepared.identity() == BASE
    assert len(reads) == 2 * len(NAMES)


def test_a_file_that_changes_while_it_is_prepared_is_an_error(prepared):
    reading = Reading(prepared.root)
    reading.of(NAMES)
    prepared.overwrite()
    with pytest.raises(DataError, match=r"b\.npz: was changed while it was prepared; run `prepare` again"):
        reading.finish()
