"""The workflow is tested by running it on a tiny scale: every target, every trigger."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sadetr import provenance
from sadetr.documents.templates import template_texts
from sadetr.workflow import Workflow

from .planner import Planner

ROOT = Path(__file__).parents[1]
SCALE = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 24, val_queries: 8, test_queries: 8}
settings:
  qvhighlights:
    training: {epochs: 2, schedule: {hold_epochs: 1}, batch_size: 8}
    families:
      detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16}
    methods:
      sa_detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16, fusion_layers: 1, global_layers: 1}
"""
# Tables that share runs, figures, and what `all` leaves out.
EXPERIMENTS = ("table1", "table4", "figure4", "figure5", "sensitivity")
# Rows of one network share its run: as many tables, claims and curves, from fewer trainings.
FEWER = {
    "method": ("qd_detr", ("univtg", "mh_detr", "eatr", "tr_detr", "uvcom", "bam_detr")),
    "variant": ("fa", ("qi", "dn", "qi_dn", "qi_ad", "qi_ad_dn", "fa_qi_dn")),
}
pytestmark = pytest.mark.workflow


@functools.cache
def known_sources() -> tempfile.TemporaryDirectory:
    """What one checkout finds of its sources the others of this process need not find again."""
    return tempfile.TemporaryDirectory(prefix="sources_")


class Checkout:
    """A copy of the repository's code with results of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".*", "results", "tests", "*.egg-info", "benchmarks")
        shutil.copytree(ROOT, folder, ignore=ignored, dirs_exist_ok=True)
        for experiment in (folder / "config/experiments").glob("*.yaml"):
            if experiment.stem not in EXPERIMENTS:
                experiment.unlink()
        (folder / "tiny.yaml").write_text(SCALE)
        self.results = folder / "results/tiny"
        kept = folder / ".snakemake/sadetr"
        kept.mkdir(parents=True)
        (kept / "sources").symlink_to(known_sources().name)
        self.planner = Planner(folder)

    def snakemake(self, *targets: str, dry: bool = False, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        words = [*targets, "--cores", "2", "--nocolor", "--config", "scale=tiny.yaml", *config]
        if dry:
            return self.planner.run("--dry-run", *words)
        return self._call([sys.executable, "-m", "snakemake", *words])

    def trained(self, method: str) -> int:
        """Runs of a method that are there."""
        return len(list(self.results.glob(f"runs/*/{method}/*/seed*")))

    def sadetr(self, *words: str) -> subprocess.CompletedProcess:
        """A subcommand."""
        return self._call([sys.executable, "-m", "sadetr", *words])

    def _call(self, command: list[str]) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    def planned(self, *targets: str, config: tuple[str, ...] = ()) -> dict[str, int]:
        """Rule -> jobs that a run would execute."""
        done = self.snakemake(*targets, dry=True, config=config)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        if "Job stats:" not in text:
            return {}
        table = text.split("Job stats:")[1].split("total")[0].splitlines()[3:]
        return {name: int(count) for name, count in (row.split() for row in table if row.strip())}

    def refusal(self, *targets: str, dry: bool = True, config: tuple[str, ...] = ()) -> str:
        """The one message with which planning ends."""
        done = self.snakemake(*targets, dry=dry, config=config)
        text = done.stdout + done.stderr
        assert done.returncode == 1, text
        assert not any(word in text for word in ("Traceback", "Exception", "Job stats")), text
        (message,) = [line for line in text.splitlines() if line.startswith("error: ")]
        return message

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout in which `all` has run."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    for key, (kept, others) in FEWER.items():
        for path in (checkout.folder / "config/experiments").glob("[tf]*.yaml"):
            path.write_text(re.sub(rf"\b{key}: ({'|'.join(others)})\b", f"{key}: {kept}", path.read_text()))
    done = checkout.snakemake("all")
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def test_a_feature_file_that_is_overwritten_in_place_is_checked_again(tmp_path):
    folder = tmp_path / "features/tacos/clip_features"
    folder.mkdir(parents=True)
    (folder / "s13-d21.npz").write_bytes(b"first")

    def fingerprint(root):
        return Workflow({"scale": "paper", "data_root": str(root)}).fingerprints.check("tacos")

    before = fingerprint(tmp_path)
    (folder / ".DS_Store").write_bytes(b"x")
    (tmp_path / "link").symlink_to(".")
    assert fingerprint(tmp_path / "link") == before
    (folder / "s13-d21.npz").write_bytes(b"another")
    assert fingerprint(tmp_path) != before


PAGES = {"rendering": (), "comparing": (), "reporting": (), "check": ("qvhighlights",)}
"""Fingerprint of a rule that writes pages -> arguments."""


@pytest.mark.parametrize("rule", PAGES)
def test_a_changed_template_renders_again(monkeypatch, rule):
    def current():
        return getattr(Workflow({}).fingerprints, rule)(*PAGES[rule])

    before = current()
    assert current() == before
    texts = template_texts()
    monkeypatch.setattr("sadetr.fingerprints.template_texts", lambda: {**texts, "html/style.css": ""})
    assert current() != before


@pytest.mark.parametrize("module", ["sadetr.verification.checks", "sadetr.verification.rendering"])
def test_changed_code_of_a_check_or_its_page_checks_again(monkeypatch, module):
    before = Workflow({}).fingerprints.check("qvhighlights")
    analysed = provenance._analysed

    def edited(text, name, *others):
        return analysed(text + "\nedited = True\n" if name == module else text, name, *others)

    monkeypatch.setattr(provenance, "_analysed", edited)
    provenance.code_fingerprint.cache_clear()
    try:
        assert Workflow({}).fingerprints.check("qvhighlights") != before
    finally:
        provenance.code_fingerprint.cache_clear()


def test_all_makes_every_table_figure_and_verdict(finished):
    for name in ("tables/table1", "tables/table4"):
        for suffix in ("csv", "md", "tex", "html"):
            assert (finished.results / f"{name}.{suffix}").stat().st_size
    for name in ("figure4", "figure5"):
        for suffix in ("pdf", "svg", "png"):
            assert (finished.results / f"figures/{name}.{suffix}").stat().st_size
    assert "not comparable" in (finished.results / "comparison.csv").read_text()
    typeset = (finished.results / "paper.tex").read_text()
    assert all(file in typeset for file in ("tables/table1.tex", "tables/table4.tex", "figures/figure5.pdf"))
    metrics = pq.read_table(finished.results / "metrics.parquet").to_pandas()
    assert len(metrics[["method", "variant", "seed"]].drop_duplicates()) == finished.trained("*")
    assert set(metrics["split"]) == {"val", "test"}
    assert set(metrics["checkpoint"]) == {"best", "last"}
    assert set(metrics["data"]) == {"generated"}


def test_what_all_leaves_out_is_a_target_of_its_own(finished):
    assert not list(finished.results.glob("tables/sensitivity.*"))
    planned = finished.planned("sensitivity")
    # 26 readings and the full model with three seeds, of which `all` has trained one.
    assert (planned["train"], planned["table"]) == (80, 1)


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned("all") == {}


def test_touched_folders_and_what_others_leave_there_cost_nothing(finished):
    for path in [finished.results, *finished.results.rglob("*")]:
        if path.is_dir() and "logs" not in path.parts:
            (path / ".DS_Store").write_text("x")
            os.utime(path)
    assert finished.planned("all") == {}


def test_a_generated_file_that_is_overwritten_is_noticed(finished):
    file = finished.results / "data/features/qvhighlights/clip_text_features/qid3.npz"
    content = file.read_bytes()
    file.write_bytes(content[:-200] + content[-200:].swapcase())
    assert {"prepare", "train"} < finished.planned("all").keys()
    file.write_bytes(content)
    assert finished.planned("all") == {}


def test_compare_succeeds_on_generated_results_and_the_report_is_made_of_what_all_made(finished):
    assert finished.planned("report") == {"report": 1}
    done = finished.snakemake("compare", "report")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (finished.results / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2
    assert "Not drawn yet" not in page
    assert "<details><summary>Runs that are missing" not in page
    assert finished.planned("report") == {}


def test_what_is_deleted_and_what_follows_is_made_again_and_nothing_else(finished):
    runs = finished.results / "runs/qvhighlights/sa_detr"
    kept, *deleted = (runs / f"{variant}/seed2018" for variant in ("full", "fa", "without_denoising"))
    before, made = [bits(run) for run in deleted], (kept / "provenance.json").stat().st_mtime_ns
    shutil.rmtree(deleted[1])
    # A table needs only its own runs.
    assert finished.planned("table4") == {}
    assert finished.planned("figure5")["train"] == 1
    shutil.rmtree(deleted[0])
    planned = finished.planned("all")
    assert (planned["train"], planned["evaluate"], planned["table"]) == (2, 2, 1)
    assert {"generate", "prepare"}.isdisjoint(planned)
    shutil.rmtree(finished.results / "data")
    shutil.rmtree(finished.results / "features")
    planned = finished.planned("all")
    assert (planned["generate"], planned["prepare"]) == (1, 1)
    done = finished.snakemake("all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (kept / "provenance.json").stat().st_mtime_ns == made
    assert [bits(run) for run in deleted] == before
    assert finished.planned("all") == {}


def bits(run: Path) -> bytes:
    return (run / "checkpoints/best.safetensors").read_bytes()


def test_a_comment_costs_nothing_and_a_changed_loss_retrains(finished):
    # Whatever the tests before left to do is not what a comment costs.
    before = finished.planned("all")
    assert "train" not in before
    finished.edit("sadetr/models/sa_detr/model.py", "import torch\n", "import torch  # a comment\n")
    finished.edit("config/methods/sa_detr.yaml", "variants:\n", "# a comment\nvariants:\n")
    assert finished.planned("all") == before
    finished.edit("sadetr/losses/moment.py", "len(spans) * reduce(", "2 * len(spans) * reduce(")
    assert finished.planned("all")["train"] >= finished.trained("sa_detr") + finished.trained("qd_detr")
    finished.edit("sadetr/losses/moment.py", "2 * len(spans) * reduce(", "len(spans) * reduce(")
    finished.edit("sadetr/models/sa_detr/objective.py", "-> LossTerms:\n", "-> LossTerms:\n    assert batch\n")
    # The loss that is as it was costs nothing: all other methods have it too.
    assert finished.planned("all")["train"] == finished.trained("sa_detr")
    finished.edit("sadetr/models/sa_detr/objective.py", "    assert batch\n", "")
    assert finished.planned("all") == before


def test_a_changed_setting_retrains_only_the_runs_it_reaches(finished):
    finished.edit("config/methods/sa_detr.yaml", "dn: {enabled: false}}", "dn: {enabled: false, groups: 3}}")
    assert finished.planned("all")["train"] == 1


def test_unknown_options_and_missing_data_are_one_clear_error(finished):
    assert "unknown option; the nearest is 'scale'" in finished.refusal("all", config=("scales=paper",))
    (finished.folder / "tiny.yaml").write_text("extends: paper\nlabel: ''\ndata: official\n")
    assert "data_root=DIR" in finished.refusal("all")
