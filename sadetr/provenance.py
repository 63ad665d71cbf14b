"""What a result was made of: fingerprints of code and settings, and the system it ran on. Free of torch."""

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sadetr import sources
from sadetr.installation import PACKAGE, ROOT
from sadetr.settings import RunSettings

# Modules whose effect on a result is wholly in the resolved settings (which have a fingerprint of their own), or that
# cannot change a number: reading configuration, naming things, writing files. So are modules named `settings`.
EXEMPT_NAME = ".settings"
EXEMPT = {
    "sadetr",
    "sadetr.configuration",
    "sadetr.disguise",
    "sadetr.errors",
    "sadetr.experiments",
    "sadetr.files",
    "sadetr.installation",
    "sadetr.layering",
    "sadetr.progress",
    "sadetr.provenance",
    "sadetr.records",
    "sadetr.settings",
    "sadetr.stream_settings",
    "sadetr.training_settings",
}


def config_fingerprint(settings: RunSettings) -> str:
    """Hash of everything that defines the trained network."""
    return fingerprint(settings.identity())


@functools.cache
def code_fingerprint(*roots: str) -> str:
    """Hash of the modules named and of all they import from their own packages.

    Comments, docstrings and formatting do not count; modules that only read settings or look at results are exempt.

    Raises:
        ModuleNotFoundError: a root does not exist.
    """
    packages = frozenset(root.partition(".")[0] for root in roots)
    seen: dict[str, str] = {}
    pending = list(roots)
    while pending:
        module = pending.pop()
        if module in seen or module in EXEMPT or module.endswith(EXEMPT_NAME):
            continue
        path, text = _source(module)
        seen[module], imported = _analysed(text, module, path, packages)
        pending += imported
    return _hash("\n".join(f"{module}\n{source}" for module, source in sorted(seen.items())))


@functools.lru_cache(maxsize=1024)
def _analysed(text: str, module: str, path: Path, packages: frozenset[str]) -> tuple[str, list[str]]:
    """What counts of a module's source, and what it imports from ``packages``; once for all roots that lead to it."""
    source = sources.read(text, module)
    return source.code, list(_imported(source.imports, module, path, packages))


def fingerprint(*parts: Any) -> str:
    """Hash of JSON-serialisable parts."""
    return _hash(json.dumps(parts, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source(module: str) -> tuple[Path, str]:
    """Where the source of a module lies, and the source."""
    for path in _candidates(module):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return path, path.read_text(encoding="utf-8")
    raise ModuleNotFoundError(f"no source of module {module!r}", name=module)


@functools.cache
def _candidates(module: str) -> tuple[Path, ...]:
    """Where a module may lie. Only its top level is looked up: find_spec imports the parents of anything deeper."""
    base = _parent_folder(module.partition(".")[0]).joinpath(*module.split("."))
    return base.with_suffix(".py"), base / "__init__.py"


@functools.cache
def _parent_folder(package: str) -> Path:
    """Folder that holds a top-level package or module, ours or anyone's."""
    if package == PACKAGE.name:
        return PACKAGE.parent
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of module {package!r}", name=package)
    return Path(spec.origin).parents[1 if spec.submodule_search_locations else 0]


def _imported(imports: Iterable[sources.Import], module: str, path: Path, packages: frozenset[str]) -> Iterable[str]:
    """Names of modules of ``packages`` that ``module``, whose source lies at ``path``, imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for level, base, names in imports:
        if level:
            parent = package.rsplit(".", level - 1)[0] if level > 1 else package
            base = f"{parent}.{base}".rstrip(".")
        if base.partition(".")[0] in packages:
            yield base
            inner = (f"{base}.{name}" for name in names)
            yield from (name for name in inner if any(candidate.is_file() for candidate in _candidates(name)))


def commit() -> str:
    """Git commit of the checkout, with ``-dirty`` where tracked files are changed; ``unknown`` outside one.

    The repository of a user who keeps an installation inside it, in a virtual environment say, is another one.
    """
    try:
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
        head, inside = run(["git", "rev-parse", "HEAD", "--show-prefix"]).stdout.splitlines()
        if inside:
            return "unknown"
        return head + ("-dirty" if run(["git", "status", "--porcelain", "-uno"]).stdout.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def system() -> dict[str, Any]:
    """Versions of what computes: Python, torch, numpy."""
    return {
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "numpy": importlib.metadata.version("numpy"),
    }
