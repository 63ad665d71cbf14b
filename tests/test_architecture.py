"""Imports go the way that docs/architecture.md says, and what that page names is there."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PLUGIN = "snakemake_logger_plugin_sadetr"
TORCH = "torch"
LIGHT = (
    "workflow",
    "forecast",
    "fingerprints",
    "planning",
    "reporting",
    "verification",
    "evaluation",
    "data",
    "configuration",
    "documents",
)
"""Rooms that never load torch."""


class Import(NamedTuple):
    """An import of one module by another."""

    line: int
    module: str
    runs: bool
    """Whether it runs when the importing module is imported: neither in a function nor under ``TYPE_CHECKING``."""


@dataclass(frozen=True)
class Plan:
    """Which modules a room is made of, and from which rooms it may import."""

    modules: dict[str, str]
    """Module, without the package's name -> room; what lies below a module belongs to its room."""
    allowed: dict[str, frozenset[str]]

    def room(self, module: str) -> str | None:
        """The room of ``a.b.c``: that of the longest listed module that holds it; None if there is none."""
        parts = module.split(".")
        names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self.modules[name] for name in names if name in self.modules), None)

    def reached(self, room: str) -> set[str]:
        """Everything that ``room`` may import, directly or through others."""
        found: set[str] = set()
        pending = [room]
        while pending:
            following = self.allowed.get(pending.pop(), frozenset()) - found
            found |= following
            pending += following
        return found


def section(heading: str) -> str:
    """One section of the page."""
    sections = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return sections[sections.index(heading) + 1]


def table(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the first Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return header, rows


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def read_plan(text: str) -> Plan:
    """The plan that a table states; a room may name rooms further down only.

    The first cell of a row is the room's name and its modules, ``name: modules``; or modules, the first its name too.
    """
    header, rows = table(text)
    free = quoted(header[-1])
    names = [quoted(first)[0] for first, *_ in rows]
    modules, allowed = {}, {}
    for place, (first, *_, last) in enumerate(rows):
        below = {*names[place + 1 :], TORCH}
        named = below if last == "everything below" else set(quoted(last))
        assert named <= below, f"{names[place]} is not above {', '.join(sorted(named - below))}"
        allowed[names[place]] = frozenset(named | (below & set(free)))
        modules |= dict.fromkeys(quoted(first.split(":")[-1]), names[place])
    return Plan(modules, allowed)


PLAN = read_plan(section("What may import what"))


def modules_of(package: Path) -> dict[str, Path]:
    """Module -> its file."""
    files = {path.relative_to(package.parent).with_suffix(""): path for path in sorted(package.rglob("*.py"))}
    return {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}


def imports_of(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Every import of a module, wherever it stands; of a name in a package, the submodule where it is one."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in inner]
        else:
            continue
        yield from (Import(node.lineno, name, node not in late) for name in dict.fromkeys(names))


def faults(package: Path, plan: Plan = PLAN) -> list[str]:
    """Every import that the plan does not allow, and every module that it does not know."""
    known, found = modules_of(package), []
    for module, path in known.items():
        inner = module.partition(".")[2]
        room = plan.room(inner)
        if inner and room is None:
            found.append(f"{path.relative_to(package.parent)}: is in no room of the table in docs/architecture.md")
            continue
        for line, target, _ in imports_of(module, path, known):
            top, _, rest = target.partition(".")
            other = TORCH if top == TORCH else plan.room(rest) if top == package.name else None
            if top == package.name and other is None:
                other = rest or package.name
            if other is not None and other not in (room, *plan.allowed.get(room, ())):
                place = f"{path.relative_to(package.parent)}:{line}"
                found.append(f"{place}: {room or module} may not import {other} ({target})")
    return found


def graph(package: Path) -> dict[str, set[str]]:
    known = modules_of(package)
    return {
        module: {target for _, target, _ in imports_of(module, path, known)} & known.keys()
        for module, path in known.items()
    }


def loaded_by(module: str, known: dict[str, Path]) -> set[str]:
    """Modules that are imported when ``module`` is, its packages and theirs included; others by their full name."""
    found: set[str] = set()
    pending = [module]
    while pending:
        parts = pending.pop().split(".")
        for name in (".".join(parts[: length + 1]) for length in range(len(parts))):
            if name not in found:
                found.add(name)
                pending += (
                    [each.module for each in imports_of(name, known[name], known) if each.runs] if name in known else []
                )
    return found


@pytest.fixture(scope="module")
def house() -> dict[str, Path]:
    return modules_of(ROOT / "sadetr")


def test_no_import_climbs():
    assert faults(ROOT / "sadetr") == []


def test_every_room_has_its_modules(house):
    missing = [name for name in PLAN.modules if f"sadetr.{name}" not in house]
    assert missing == []


def test_the_logger_plugin_stands_on_the_ground(house):
    plugin = modules_of(ROOT / PLUGIN)
    found = [each.module for name, path in plugin.items() for each in imports_of(name, path, house) if each.module]
    ours = [module for module in found if module.partition(".")[0] == "sadetr"]
    assert {PLAN.room(module.partition(".")[2]) for module in ours} == {"ground"}


def test_nothing_imports_tests_and_benchmarks(house):
    found = {each.module.partition(".")[0] for name, path in house.items() for each in imports_of(name, path, house)}
    assert {"sadetr", "numpy", TORCH} <= found
    assert found.isdisjoint({"tests", "benchmarks", PLUGIN})


@pytest.mark.parametrize("room", LIGHT)
def test_no_way_leads_to_torch(room):
    assert TORCH not in PLAN.reached(room)


def test_training_names_no_method_and_methods_read_no_data():
    assert "models" not in PLAN.reached("training")
    assert PLAN.reached("models").isdisjoint({"data", "batches", "evaluation", "configuration", "training"})


def test_settings_are_free_of_torch(house):
    names = [name for name in house if name.endswith(".settings")]
    assert {"sadetr.settings", "sadetr.losses.settings", "sadetr.nn.settings"} <= set(names)
    assert [name for name in names if TORCH in loaded_by(name, house)] == []
    assert TORCH in loaded_by("sadetr.data.batches", house)


def test_no_two_modules_import_each_other():
    edges = graph(ROOT / "sadetr")
    TopologicalSorter(edges).prepare()


FORBIDDEN = {
    "at the top": ("data/rows.py", "from house.training.loop import Trainer\n", "training"),
    "of a module": ("data/rows.py", "import house.training.loop\n", "training"),
    "of a package's submodule": ("data/rows.py", "from house.training import loop\n", "training"),
    "of a room by its package": ("data/rows.py", "from house import training\n", "training"),
    "of the package": ("data/rows.py", "from house import VERSION\n", "house"),
    "relative": ("data/rows.py", "from ..training import loop\n", "training"),
    "relative in a package": ("data/__init__.py", "from ..training.loop import Trainer\n", "training"),
    "in a function": ("data/rows.py", "def f():\n    from house.training.loop import Trainer\n", "training"),
    "in a method": ("data/rows.py", "class A:\n    def f(self):\n        import house.training\n", "training"),
    "for types": (
        "data/rows.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.training\n",
        "training",
    ),
    "tried": ("data/rows.py", "try:\n    import house.training\nexcept ImportError:\n    pass\n", "training"),
    "of a part that is a room": ("data/rows.py", "from house.data.batches import Batch\n", "batches"),
    "of torch": ("data/rows.py", "from torch import nn\n", "torch"),
    "of torch, late": ("data/rows.py", "def f():\n    import torch.nn\n", "torch"),
    "by a top-level module": ("errors.py", "from house.data import rows\n", "data"),
}


@pytest.fixture
def small_plan() -> Plan:
    return read_plan(
        """
        | Room | What | May import, beside `ground` |
        | --- | --- | --- |
        | `training` | | `batches`, `data`, `torch` |
        | `batches`: `data.batches` | | `data`, `torch` |
        | `data` | | – |
        | `ground`: `errors` | | – |
        """.replace("        ", "")
    )


@pytest.fixture
def small_house(tmp_path) -> Path:
    files = {
        "__init__.py": "VERSION = 1\n",
        "errors.py": "import sys\n",
        "data/__init__.py": "",
        "data/rows.py": "from house.errors import DataError\n",
        "data/batches.py": "import torch\nfrom . import rows\nfrom ..errors import DataError\n",
        "training/__init__.py": "",
        "training/loop.py": "from house.data.batches import Batch\nfrom torchvision import ops\n",
    }
    for name, text in files.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


def test_imports_that_go_down_are_allowed(small_house, small_plan):
    assert faults(small_house, small_plan) == []


@pytest.mark.parametrize("case", FORBIDDEN)
def test_an_import_that_climbs_is_found(small_house, small_plan, case):
    file, text, other = FORBIDDEN[case]
    (small_house / file).write_text(text)
    (found,) = faults(small_house, small_plan)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if re.search(r"house|torch|\.\.", line))
    assert found.startswith(f"house/{file}:{line}: ")
    assert f"may not import {other} (" in found


def test_a_module_without_a_room_is_found(small_house, small_plan):
    (small_house / "attic.py").write_text("")
    (found,) = faults(small_house, small_plan)
    assert found.startswith("house/attic.py: is in no room")


def test_a_table_that_climbs_is_refused():
    head = "| Room | What | May import, beside `ground` |\n| --- | --- | --- |\n"
    with pytest.raises(AssertionError, match="data is not above training"):
        read_plan(head + "| `training` | | `data` |\n| `data` | | `training` |\n| `ground`: `errors` | | – |\n")


def test_a_circle_is_found(small_house):
    (small_house / "data/rows.py").write_text("def f():\n    from house.data import batches\n")
    with pytest.raises(CycleError):
        TopologicalSorter(graph(small_house)).prepare()


def test_imports_that_do_not_run_load_nothing(small_house):
    known = modules_of(small_house)
    assert TORCH in loaded_by("house.training.loop", known)
    (small_house / "data/batches.py").write_text("def f():\n    import torch\n")
    assert TORCH not in loaded_by("house.training.loop", known)


def names_in(path: Path) -> set[str]:
    """Functions, classes, methods and variables that a module defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [*ast.walk(tree)]
    named = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return named | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def linked(text: str) -> list[Path]:
    return [PAGE.parent / target for target in re.findall(r"\]\(([^)#]+)\)", text)]


def test_everything_linked_is_there():
    paths = linked(PAGE.read_text(encoding="utf-8"))
    assert len(paths) > 40
    assert [str(path) for path in paths if not path.exists()] == []


def test_every_room_outside_the_package_is_there():
    _, rows = table(section("Rooms"))
    names = [name for first, *_ in rows for name in quoted(first) if "<" not in name]
    assert [name for name in names if not (ROOT / name).exists()] == []
    kept = {path.name for path in (ROOT / "config").iterdir()}
    assert kept == {name.split("/")[1] for name in names if name.startswith("config/")}


@pytest.mark.parametrize("station", table(section("The life of one number"))[1], ids=lambda row: row[0])
def test_stations_are_where_the_page_says(station):
    (path,), names = linked(station[1]), quoted(station[2])
    assert names
    assert set(names) <= names_in(path)


def test_names_are_in_the_modules_that_the_page_says():
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"`(\w+)`(?: and `(\w+)`)?(?: in|:) \[[^]]*\]\(([^)]+\.py)\)", text)
    found += re.findall(r"`(\w+)`()[^|`]* in \[[^]]*\]\(([^)]+\.py)\)", text)
    assert len(found) > 5
    for *names, target in found:
        assert {name for name in names if name} <= names_in(PAGE.parent / target), (names, target)


def test_the_readme_leads_to_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in readme.split("## What is where")[1].split("\n## ")[0]
