"""What counts of a source is the same whether it was kept or is found anew."""

import ast
from pathlib import Path

import pytest

from sadetr import sources
from sadetr.provenance import PACKAGE

TEXT = '''"""A module."""
from . import near
from ..far import one, two as second  # a comment


async def act(value):
    """What it does."""
    import a.b, c
    match value:
        case 1:
            from d import e
        case _:
            try:
                import f
            except ImportError:
                from .g import *
            else:
                import h
            finally:
                import i
    async with value as opened:
        if opened:
            """Not the first of a body: it stays."""
        elif value:
            import j
        while value:
            import k
    return lambda: [value if value else None]


class Record:
    """Only this."""
'''


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    """Snakemake's folder in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path(".snakemake").mkdir()
    return tmp_path / ".snakemake"


@pytest.fixture
def analysed(monkeypatch) -> list[str]:
    """Texts that were analysed, not found."""
    texts, analyse = [], sources.analyse

    def noted(text):
        texts.append(text)
        return analyse(text)

    monkeypatch.setattr(sources, "analyse", noted)
    return texts


def walked(text: str) -> tuple[str, list[tuple[int, str, tuple[str, ...]]]]:
    """The same by a look at every node of the tree."""
    tree = ast.parse(text)
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts = [child for child in node.body if isinstance(child, ast.Expr)]
            texts = [child for child in texts if isinstance(getattr(child.value, "value", None), str)]
            node.body = [child for child in node.body if child not in texts] or [ast.Pass()]
    return ast.unparse(tree), sorted(imports)


def test_a_look_at_statements_finds_what_a_look_at_everything_finds():
    files = sorted(PACKAGE.rglob("*.py"))
    for text in [TEXT, *(file.read_text(encoding="utf-8") for file in files)]:
        found = sources.analyse(text)
        assert (found.code, sorted(found.imports)) == walked(text)
    code, imports = sources.analyse(TEXT)
    assert {entry.base for entry in imports} == {"", "far", "a.b", "c", "d", "f", "g", "h", "i", "j", "k"}
    assert "comment" not in code
    assert "Not the first of a body" in code
    assert not any(text in code for text in ("A module", "What it does", "Only this"))


def test_the_same_text_is_analysed_once_and_any_other_anew(state, analysed):
    first = sources.read(TEXT, "toy.module")
    assert sources.read(TEXT, "toy.module") == first
    assert analysed == [TEXT]
    commented = TEXT.replace("# a comment", "# another")
    assert sources.read(commented, "toy.module") == first
    changed = TEXT.replace("case 1", "case 2")
    assert sources.read(changed, "toy.module") == sources.analyse(changed) != first
    # Back again: the last text alone is kept.
    assert sources.read(TEXT, "toy.module") == first
    assert analysed == [TEXT, commented, changed, changed, TEXT]
    assert [file.name for file in (state / "sadetr/sources").iterdir()] == ["toy.module.json"]


def test_another_python_or_other_rules_analyse_anew(state, analysed, monkeypatch):
    sources.read(TEXT, "toy")
    monkeypatch.setattr(sources, "RULES", sources.RULES + " ")
    sources.read(TEXT, "toy")
    assert analysed == [TEXT, TEXT]


def swapped(content: bytes) -> bytes:
    return content.replace(b"Record", b"Recorb")


BROKEN = {
    "swapped": swapped,
    "torn": lambda content: content[:200],
    "empty": lambda content: b"",
    "no text": lambda content: b"\xff" + content,
    "without its sum": lambda content: content.split(b"\n", 1)[1],
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_not_as_it_was_written_is_found_anew_and_mended(state, analysed, fault):
    sources.read(TEXT, "toy")
    file = state / "sadetr/sources/toy.json"
    content = file.read_bytes()
    broken = BROKEN[fault](content)
    assert broken != content
    file.write_bytes(broken)
    assert sources.read(TEXT, "toy") == sources.analyse(TEXT)
    assert file.read_bytes() == content


def test_what_was_kept_of_another_text_is_not_taken(state):
    sources.read("other = 1\n", "other")
    folder = state / "sadetr/sources"
    (folder / "other.json").rename(folder / "toy.json")
    assert sources.read(TEXT, "toy") == sources.analyse(TEXT)


def read_only(state: Path) -> None:
    state.chmod(0o500)


def occupied(state: Path) -> None:
    # Even root cannot write into a file.
    (state / "sadetr").write_text("")


def absent(state: Path) -> None:
    state.rmdir()


@pytest.mark.parametrize("hinder", [read_only, occupied, absent])
def test_where_nothing_can_be_kept_everything_is_found_anew(state, hinder):
    hinder(state)
    try:
        assert [sources.read(TEXT, "toy") for _ in range(2)] == [sources.analyse(TEXT)] * 2
        assert state.exists() == (hinder is not absent)
    finally:
        if state.exists():
            state.chmod(0o700)
