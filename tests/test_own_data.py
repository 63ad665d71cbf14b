"""The page "Your own data set" is true: its files are written, its commands are run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/your_own_data.md").read_text(encoding="utf-8")
# A file's block follows the paragraph that begins with its name.
FILES = re.findall(r"^\*\*`([^`]+)`\*\*[^\n]*(?:\n[^\n]+)*\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.workflow
INSTALL = "pip install -e kitchen\n"


class Project:
    """A folder with the page's files, and its package on the path as an editable installation leaves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, content in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        package = folder / "kitchen"
        (package / "kitchen/__init__.py").touch()
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        metadata = package / f"{project['name']}-{project['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1\n")
        ((group, entries),) = project["entry-points"].items()
        lines = [f"{name} = {value}\n" for name, value in entries.items()]
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")

    def run(self, commands: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(self.folder / "kitchen"), str(ROOT))),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_page_has_all_its_files():
    assert [name for name, _ in FILES] == [
        "make_data.py",
        "kitchen/pyproject.toml",
        "kitchen/kitchen/settings/kitchen.yaml",
        "kitchen/kitchen/experiments/kitchen.yaml",
        "small.yaml",
    ]
    assert len(COMMANDS) == 2
    assert COMMANDS[0].startswith(INSTALL)


def test_its_commands_make_a_table_predictions_and_scores(project):
    # With the imports of its four trainings made once, which is the default for generated data alone.
    commands = COMMANDS[0].removeprefix(INSTALL).replace(" data_root=data\n", " data_root=data preload=true\n")
    text = project.run(commands)
    assert "-m sadetr train" in (project.folder / ".snakemake/preloaded.log").read_text()
    assert "kitchen: a small try" in text
    assert re.search(r"SA-DETR.*±", text)
    run = project.folder / "results/small/runs/kitchen/sa_detr/full/seed1"
    assert {path.name for path in (run / "predictions").iterdir()} >= {"best.val.jsonl", "best.test.jsonl"}
    scores = project.run(COMMANDS[1])
    assert len((project.folder / "test.jsonl").read_text().splitlines()) == 8
    assert (project.folder / "test.jsonl").read_bytes() == (run / "predictions/best.test.jsonl").read_bytes()
    assert "mean_span: 8 queries, kitchen" in scores


def test_one_stream_is_one_line_less(project):
    setting = project.folder / "kitchen/kitchen/settings/kitchen.yaml"
    text = setting.read_text()
    image = "  - {name: image, directory: image, width: 6}\n"
    assert image in text
    setting.write_text(text.replace(image, ""))
    options = "--setting kitchen --data-root data --scale small.yaml"
    project.run(f"python make_data.py && rm -r data/features/kitchen/image && python -m sadetr check-data {options}")
    assert "feature store of kitchen" in project.run(f"python -m sadetr prepare {options}")
