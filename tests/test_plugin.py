"""What is seen while the workflow runs, and the words that users type first, through Snakemake itself."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from sadetr.commandline import CONFIG_FILES, NAMED_VALUES, mended

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm"}
# What `snakemake` does, without the working directory on the path that `python -m` adds.
SNAKEMAKE = (sys.executable, "-P", "-m", "snakemake")


def snakemake(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*SNAKEMAKE, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def planned(folder: Path, *words: str) -> str:
    """The table of planned jobs per rule."""
    done = snakemake(folder, "-n", "--quiet", "rules", *words)
    return done.stdout[done.stdout.index("job ") :].split("\n\n")[0]


def test_targets_behind_greedy_options_are_targets(tmp_path):
    (tmp_path / "mini.yaml").write_text("scale: mini\n")
    typed = "--cores 1 --resources gpu=1 table9 --configfile mini.yaml table10 --config results=mine table11"
    done = snakemake(tmp_path, "--snakefile", str(ROOT / "Snakefile"), "-n", *typed.split())
    found = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {"table9", "table10", "table11"} <= found
    assert "output: mine/mini/" in done.stdout
    assert {"all", "table4"}.isdisjoint(found)


def test_every_option_that_swallows_targets_is_known():
    """An option that ends with a traceback for a bare word, in the Snakemake that is installed."""
    parser, found = get_argument_parser(), set()
    for action in parser._actions:
        if action.nargs not in ("*", "+") or not action.option_strings:
            continue
        try:
            parser.parse_args([action.option_strings[0], "all"])
            # Some are parsed later; their metavar tells.
            greedy = "=" in (action.metavar or "")
        except SystemExit:
            # A list of choices: argparse explains it.
            greedy = False
        except ValueError:
            greedy = True
        found |= set(action.option_strings) if greedy else set()
    # For jobs that Snakemake starts itself; there a bare word may be a value.
    assert found - {"--target-jobs"} == set(NAMED_VALUES)
    for name in NAMED_VALUES:
        assert mended(["--cores", "1", name, "a=1", "all"]) == ["all", "--cores", "1", name, "a=1"]
    assert set(CONFIG_FILES) <= {name for action in parser._actions for name in action.option_strings}


def test_a_program_that_imports_the_plug_in_keeps_its_words():
    code = "import sys; import snakemake_logger_plugin_sadetr; print(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--resources", "gpu=1", "all"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['--resources', 'gpu=1', 'all']"


SNAKEFILE = r'''
rule all:
    input:
        "runs/a/provenance.json", "results/comparison.csv", "loud.txt"

rule train:
    output:
        "runs/{run}/provenance.json"
    log:
        "results/logs/train/{run}.log"
    shell:
        """
        printf '%s' '{{"epoch": 2, "epochs": 5, "seconds": 40.0, "metric": "val mAP", "best": 12.5, "device": "cpu",
        "machine": "here", "time": 1.0}}' > runs/{wildcards.run}/progress.json
        for line in $(seq 50); do echo "line $line" >> {log}; done
        sleep ${{TRAINING:-0}}
        test {wildcards.run} = a || {{ echo "error: diverged" >> {log}; exit 1; }}
        touch {output}
        """

rule comparison:
    input:
        "runs/a/provenance.json"
    output:
        "results/comparison.csv"
    log:
        "results/logs/comparison.log"
    shell:
        "printf 'cell,verdict\n1,reached\n2,below\n3,reached\n' > {output}"

rule loud:
    output:
        "loud.txt"
    shell:
        "echo spoken by the job; touch {output}"
'''
SPELLINGS = {
    "all": ["--cores 1 --resources gpu=1 all", "--cores 1 --resources gpu=1 -- all"],
    "comparison": ["--set-threads train=1 comparison --cores 1"],
}
CLOCK = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    profile = tmp_path / "profiles/default/profile.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text("logger: sadetr\nkeep-going: true\nshow-failed-logs: true\ncores: 1\n")
    return tmp_path


@pytest.mark.parametrize("target", SPELLINGS)
def test_targets_mean_the_same_wherever_they_stand(project, target):
    expected = planned(project, "--cores", "1", target)
    assert re.search(rf"^{target} +1$", expected, re.MULTILINE)
    for typed in SPELLINGS[target]:
        assert planned(project, *typed.split()) == expected, typed


def test_a_log_holds_one_plain_line_per_event(project):
    done = snakemake(project)
    assert "spoken by the job" in done.stdout
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    lines = CLOCK.sub("", done.stderr).splitlines()[1:]
    assert lines[0] == "4 steps to do, 1 training among them"
    told = [re.sub(r"in \d+ s", "in N s", re.sub(r"^\[\d/4\]", "[N/4]", line)) for line in lines[1:-1]]
    assert sorted(told) == [
        "[N/4] all: done",
        "[N/4] comparison: done in N s",
        "[N/4] loud: done in N s",
        "[N/4] train a: done in N s; 1 of 1 training",
        "train a: started",
        "verdict on 3 cells: 2 reached, 1 below",
    ]
    assert told.index("train a: started") < told.index("[N/4] comparison: done in N s") < told.index("[N/4] all: done")
    assert lines[-1].startswith("Elapsed time")
    # Everything that Snakemake has to say is in its own log.
    (log,) = (project / ".snakemake/log").glob("*.log")
    assert "4 of 4 steps (100%) done" in log.read_text()
    assert "Nothing to be done" in snakemake(project).stderr


def test_a_failure_shows_the_end_of_its_log_and_stops_no_other(project):
    done = snakemake(project, "all", "runs/b/provenance.json", code=1)
    text = CLOCK.sub("", done.stderr)
    start = text.index("Error in rule train: b\n    log: results/logs/train/b.log\n    | line 32\n")
    assert text[start:].split("\n")[21] == "    | error: diverged"
    assert "line 31" not in text
    assert "CalledProcessError" not in text
    assert "[3/5] " in text
    assert "train a: done" in text
    short = snakemake(project, "--show-failed-logs=false", "runs/b/provenance.json", code=2)
    assert "--show-failed-logs" in short.stderr


@pytest.mark.parametrize("words", [("-n",), ("--quiet", "progress"), ("--verbose",)])
def test_whoever_asks_for_snakemakes_own_words_gets_exactly_them(project, words):
    ours = snakemake(project, *words)
    for name in ("runs", "results", "loud.txt"):
        subprocess.run(["rm", "-rf", name], cwd=project, check=True)
    (project / "profiles/default/profile.yaml").write_text("keep-going: true\nshow-failed-logs: true\ncores: 1\n")
    theirs = snakemake(project, *words)

    def rules(text: str) -> list[str]:
        return re.findall(r"^(?:local)?rule \w+:|^total .*|^\d of \d steps.*|^    output: .*", text, re.MULTILINE)

    for stream in ("stdout", "stderr"):
        assert rules(getattr(ours, stream)) == rules(getattr(theirs, stream))
    assert CLOCK.search(ours.stderr) is None


@pytest.mark.parametrize("words", [("--summary",), ("--lint",), ("--rulegraph", "mermaid-js")])
def test_what_only_prints_prints_as_before(project, words):
    code = 1 if words == ("--lint",) else 0
    ours = snakemake(project, *words, code=code)
    (project / "profiles/default/profile.yaml").write_text("cores: 1\n")
    theirs = snakemake(project, *words, code=code)
    # The edges of a graph come in any order.
    assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    assert ours.stdout or ours.stderr
    if words == ("--lint",):
        assert ours.stderr[ours.stderr.index("Lints for") :] == theirs.stderr[theirs.stderr.index("Lints for") :]


def on_terminal(folder: Path, *words: str, until: str = "", **variables: str) -> tuple[str, int]:
    """What a terminal of 80 columns receives; Ctrl-C once ``until`` is seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        # Tests that were started in the background ignore Ctrl-C, and what they start would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execve(sys.executable, [*SNAKEMAKE, *words], {**ENVIRONMENT, **variables})
    received, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            received += os.read(terminal, 1 << 16)
        except OSError:
            break
        if until and until.encode() in received:
            os.write(terminal, b"\x03")
            until = ""
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return received.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_shows_what_runs_and_is_left_as_it_was(project):
    text, code = on_terminal(project, TRAINING="3")
    assert code == 0, text
    # The training of 20 s per epoch that the file tells of, and no line of the log format.
    assert re.search(r"a +epoch 3/5 40 s left val mAP 12.50", text)
    assert re.search(r"\d/4 steps, 0/1 trainings", text)
    assert CLOCK.search(text) is None
    assert "spoken by the job" in text
    assert "verdict on 3 cells: 2 reached, 1 below" in text
    # The cursor is hidden and shown again.
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_after_ctrl_c_the_terminal_is_left_as_it_was(project):
    text, code = on_terminal(project, until="epoch 3/5", TRAINING="60")
    assert code != 0
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "Traceback" not in text
