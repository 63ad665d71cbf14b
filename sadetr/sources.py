"""What a source text says: its code without comments, docstrings and layout, and what it imports.

Both follow from the text alone. A start of the workflow asks for that of some two hundred modules, and so does each
job; so it is kept beside Snakemake's own state in the working folder, one file per module.
"""

import ast
import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sadetr.errors import ResultsError
from sadetr.files import atomic_path

STATE = Path(".snakemake")
"""Snakemake's folder. Where there is none no workflow runs, and nothing is kept."""
KEPT = STATE / "sadetr" / "sources"
RULES = f"{platform.python_implementation()} {platform.python_version()}\n{Path(__file__).read_text(encoding='utf-8')}"
"""What an analysis depends on beside the text: the parser, and this module."""


class Import(NamedTuple):
    """An import, as it is written."""

    level: int
    """Number of leading dots."""
    base: str
    """What is imported, or what names are imported from; empty for ``from . import name``."""
    names: tuple[str, ...]
    """What is imported from ``base``; empty for ``import base``."""


class Source(NamedTuple):
    """What counts of a source text."""

    code: str
    """The same in every version of Python that parses the text."""
    imports: tuple[Import, ...]


def read(text: str, module: str) -> Source:
    """What counts of ``text``, the source of ``module``: as it was kept, where the same text was read before."""
    file = KEPT / f"{module}.json"
    key = _hash(RULES + text)
    found = _load(file, key)
    if found is None:
        found = analyse(text)
        _store(file, key, found)
    return found


def analyse(text: str) -> Source:
    """What counts of a source text.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(text)
    imports = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            imports += [Import(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append(Import(node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Attribute docstrings are expressions like any other: every bare string goes.
            node.body = [child for child in node.body if not _is_text(child)] or [ast.Pass()]
    # Unparsed source is the same in every Python version, a dump of the tree is not.
    return Source(ast.unparse(tree), tuple(imports))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """``node`` and all statements in it. They stand in blocks alone: most of a tree need not be looked at."""
    yield node
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, ()):
            yield from _statements(child)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _load(file: Path, key: str) -> Source | None:
    """What was kept under ``key``; None where nothing was, or where the file is not as it was written."""
    try:
        sum_, content = file.read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    if sum_ != _hash(key + content):
        return None
    code, imports = json.loads(content)
    return Source(code, tuple(Import(level, base, tuple(names)) for level, base, names in imports))


def _store(file: Path, key: str, source: Source) -> None:
    if not STATE.is_dir():
        return
    content = json.dumps(source)
    # A folder that cannot be written costs time and nothing else. What a crash leaves of a file is told by its sum.
    with contextlib.suppress(ResultsError, OSError), atomic_path(file) as temporary:
        temporary.write_text(f"{_hash(key + content)}\n{content}", encoding="utf-8")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
