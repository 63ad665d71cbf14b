"""What `pip install .` leaves elsewhere does all that a checkout does, and nothing is ever written into it."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from sadetr import installation

ROOT = Path(__file__).parents[1]
BUNDLED = ("Snakefile", "workflow", "profiles", "config", "docs", "benchmarks/results")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
SCALE = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 16, val_queries: 8, test_queries: 8}
settings:
  tacos:
    training: {epochs: 1, schedule: {hold_epochs: 0}, batch_size: 8}
    families:
      detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16}
    methods:
      sa_detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16, fusion_layers: 1, global_layers: 1}
"""
RUN = "runs/tacos/sa_detr/full/seed2018"
pytestmark = pytest.mark.workflow


def call(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run without the path of the tests, as a user elsewhere would."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def done(process: subprocess.CompletedProcess) -> str:
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def visible(folder: Path) -> set[str]:
    """Files below a folder, or the file itself, relative to the repository; without hidden files and caches."""
    paths = [folder, *folder.rglob("*")]
    names = [path.relative_to(ROOT) for path in paths if path.is_file()]
    return {name.as_posix() for name in names if not any(part.startswith((".", "__pycache__")) for part in name.parts)}


def built_wheel(source: Path, target: Path) -> Path:
    done(call(*PIP, "wheel", *OFFLINE, "--wheel-dir", target, source, cwd=source))
    return next(target.glob("*.whl"))


def content(wheel: Path) -> dict[str, bytes]:
    """Everything but the metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the repository that was built from before, when it held other files."""
    folder = tmp_path_factory.mktemp("source") / "a b'ü"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "dist", "runs")
    shutil.copytree(ROOT, folder, ignore=ignored)
    for name in ("bundle/config/scales/mini.yaml", "bundle/config/scales/forgotten.yaml", "forgotten.py"):
        left = folder / "build/lib/sadetr" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("an older file\n")
    (folder / "config/.DS_Store").write_bytes(b"hidden")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return built_wheel(source, tmp_path_factory.mktemp("wheel"))


class Installation:
    """The wheel in an environment of its own, read-only, inside a repository of the user's."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        environment = folder / "environment"
        venv.create(environment, symlinks=True)
        self.python = environment / "bin/python"
        done(call(*PIP, "--python", self.python, "install", *OFFLINE, wheel, cwd=folder))
        self.site = next(environment.glob("lib/python*/site-packages"))
        # Third-party packages are those of the tests; a path in a .pth file brings no .pth files of its own.
        borrowed = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
        (self.site / "borrowed.pth").write_text("\n".join(borrowed))
        for path in self.installed():
            path.chmod(0o555 if path.is_dir() else 0o444)
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "tiny.yaml").write_text(SCALE)
        (self.work / "home").mkdir()
        for command in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message=theirs")):
            done(call("git", "-c", "user.name=x", "-c", "user.email=x@localhost", *command, cwd=folder))
        self.state = self.look()

    def installed(self) -> list[Path]:
        return [path for folder in self.site.glob("sadetr*") for path in (folder, *sorted(folder.rglob("*")))]

    def look(self) -> dict[Path, tuple[int, int]]:
        """Every file and folder with its time and size: root may write where it must not."""
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self.installed()}

    def sadetr(self, *arguments: str) -> subprocess.CompletedProcess:
        return call(self.python.with_name("sadetr"), *arguments, cwd=self.work, HOME=str(self.work / "home"))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        # As the command `snakemake` does, without the working directory on the path.
        command = (self.python, "-P", "-m", "snakemake", "--snakefile", done(self.sadetr("snakefile")).strip())
        return call(*command, "--cores", "2", *arguments, cwd=self.work, HOME=str(self.work / "home"))


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    installation = Installation(tmp_path_factory.mktemp("elsewhere"), wheel)
    yield installation
    for path in installation.installed():
        path.chmod(0o755)


def test_the_wheel_holds_all_that_is_used_and_nothing_else(wheel):
    bundled = {f"sadetr/bundle/{name}" for folder in BUNDLED for name in visible(ROOT / folder)}
    assert {"sadetr/bundle/Snakefile", "sadetr/bundle/workflow/rules/common.smk"} < bundled
    packages = {path.parent for path in ROOT.glob("*/__init__.py")} - {ROOT / "tests"}
    found = content(wheel)
    assert set(found) == bundled.union(*map(visible, packages))
    assert b"an older file\n" not in found.values()


def test_a_source_distribution_makes_the_same_wheel(source, wheel, tmp_path):
    script = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"
    done(call(sys.executable, "-c", script, tmp_path, cwd=source))
    shutil.unpack_archive(next(tmp_path.glob("*.tar.gz")), tmp_path / "unpacked")
    unpacked = next((tmp_path / "unpacked").iterdir())
    assert not {"tests", "results"} & {path.name for path in unpacked.iterdir()}
    assert content(built_wheel(unpacked, tmp_path / "wheel")) == content(wheel)


def test_a_checkout_reads_its_own_files_whatever_a_build_left_in_it(source):
    copy = source / "sadetr/bundle"
    shutil.copytree(source / "config", copy / "config")
    (copy / "Snakefile").write_text("an older file\n")
    script = "from sadetr.installation import ROOT; from sadetr.layering import CONFIG; print(ROOT, CONFIG, sep='\\n')"
    assert done(call(sys.executable, "-c", script, cwd=source)).splitlines() == [str(source), str(source / "config")]
    shutil.rmtree(copy)


def test_pip_takes_the_lines_that_environment_yml_has_for_it(source):
    # conda writes them to a requirements file, which knows fewer options than the command line.
    (lines,) = [
        item["pip"]
        for item in yaml.safe_load((source / "environment.yml").read_text())["dependencies"]
        if isinstance(item, dict)
    ]
    (source / "lines.txt").write_text("\n".join(lines))
    done(call(*PIP, "install", "--dry-run", *OFFLINE, "--requirement", "lines.txt", cwd=source))


def test_commands_work_from_an_empty_folder(elsewhere):
    assert "10 distinct runs" in done(elsewhere.sadetr("runs", "--table", "4"))
    place = Path(done(elsewhere.sadetr("snakefile")).strip())
    assert place == (elsewhere.site / "sadetr/bundle/Snakefile").resolve()
    shown = done(elsewhere.sadetr("explain", "--table", "4", "--row", "h"))
    assert "set by config/methods/sa_detr.yaml" in shown
    unknown = elsewhere.sadetr("download", "--setting", "nothing", "--data-root", ".")
    assert (unknown.returncode, "Known names: charades_sta" in unknown.stderr) == (1, True)


def test_predictions_are_scored_from_an_empty_folder(elsewhere):
    query = {"qid": 1, "query": "a dog barks", "vid": "v", "duration": 20, "relevant_windows": [[4, 10]]}
    query |= {"relevant_clip_ids": [2, 3, 4], "saliency_scores": [[3, 3, 3]] * 3}
    predicted = {"qid": 1, "query": "a dog barks", "vid": "v", "pred_relevant_windows": [[4.0, 10.0, 0.9]]}
    predicted["pred_saliency_scores"] = [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    for name, row in (("gt", query), ("pred", predicted)):
        (elsewhere.work / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    done(elsewhere.sadetr("evaluate", "--predictions", "pred.jsonl", "--annotations", "gt.jsonl", "--out", "m.json"))
    assert json.loads((elsewhere.work / "m.json").read_text())["metrics"]["mIoU"] == 100


def test_the_installed_workflow_makes_a_table(elsewhere):
    # Whatever is called sadetr in the folder, the rules run what planned them.
    decoy = elsewhere.work / "sadetr"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong sadetr')\n")
    process = elsewhere.snakemake("table3", "--config", "scale=tiny.yaml")
    done(process)
    if (ROOT / "profiles/default").exists():
        assert f"profile {elsewhere.site.resolve()}/sadetr/bundle/profiles/default" in process.stderr
    results = elsewhere.work / "results/tiny"
    assert "SA-DETR" in (results / "tables/table3.md").read_text()
    # The commit of the repository around the environment is not ours.
    assert json.loads((results / RUN / "provenance.json").read_text())["commit"] == "unknown"
    done(elsewhere.sadetr("check-data", "--setting", "tacos", "--scale", "tiny.yaml"))
    assert {path.name for path in elsewhere.work.iterdir()} >= {".snakemake", "results"}
    assert elsewhere.look() == elsewhere.state


def test_a_checkout_is_where_these_tests_run():
    assert (installation.ROOT, installation.INSTALLED) == (ROOT, False)


def test_pages_that_messages_refer_to_exist():
    assert installation.document("data.md").is_file()
