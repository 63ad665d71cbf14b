"""``compare-features``: what passes, what fails, and what is said to be the reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.extraction.comparison import KINDS, cosines, measure
from sadetr.extraction.verdicts import judge

WIDTHS = {"clip": 40, "slowfast": 300, "text": 24}


def rows(name: str, count: int, seed: int) -> np.ndarray:
    """Rows that change slowly around a mean that all share, as features of videos do."""
    draw = np.random.default_rng(seed)
    steps = np.cumsum(draw.normal(size=(count, WIDTHS[name])), axis=0)
    return (4 + steps).astype(np.float16)


def write(root: Path, change=lambda name, array: array, files: int = 6, prefix: str = "qid") -> Path:
    for name, kind in KINDS.items():
        folder = root / kind.directory
        folder.mkdir(parents=True)
        for number in range(files):
            file = folder / f"{prefix if name == 'text' else 'v'}{number}.npz"
            array = change(name, rows(name, 20 + number, number)).astype(np.float16)
            np.savez(file, **{kind.key: array})
    return root


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("official") / "features")


def verdicts(official: Path, own: Path, limit: int | None = None):
    found = {
        name: measure(kind, official / kind.directory, own / kind.directory, limit) for name, kind in KINDS.items()
    }
    return judge(found), found


def noisy(strength: float):
    draw = np.random.default_rng(7)
    return lambda _, array: array + strength * array.std(dtype=np.float64) * draw.normal(size=array.shape)


def test_equal_files_pass(official, tmp_path):
    judged, found = verdicts(official, write(tmp_path / "own", prefix=""))
    assert {name: (verdict.word, verdict.diagnoses) for name, verdict in judged.items()} == dict.fromkeys(
        KINDS, ("pass", [])
    )
    for each in found.values():
        assert (each.files, each.missing, each.extra, each.shifted) == (6, 0, 0, 0.0)
        np.testing.assert_allclose(each.cosines, 1, atol=1e-6)
        np.testing.assert_allclose(each.norm_ratios, 1)
        assert each.dtypes == {"float16 / float16": 6}


CHANGES = {
    "a little noise": (noisy(0.02), {"clip": "pass", "slowfast": "pass"}, None),
    "another encode": (noisy(0.35), {"clip": "warn", "slowfast": "warn", "text": "fail"}, "furthest from"),
    "other features": (noisy(5.0), {"clip": "fail", "slowfast": "fail", "text": "fail"}, "furthest from"),
    "normalised": (
        lambda _, array: array / np.linalg.norm(array.astype(np.float32), axis=1, keepdims=True),
        {"clip": "warn", "slowfast": "warn"},
        "times the official ones: normalised rows",
    ),
    "shifted": (lambda _, array: np.roll(array, 1, axis=0), {}, "nearer to the row before or after: shifted"),
    "a row less": (
        lambda name, array: array[: None if name == "text" else -1],
        {"clip": "pass", "slowfast": "pass"},
        "6 files are one row longer or shorter: videos of another encode",
    ),
    "half the rows": (lambda _, array: array[::2], {"clip": "fail", "slowfast": "fail"}, "have another number of rows"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_are_told_apart(official, tmp_path, kind):
    change, words, message = CHANGES[kind]
    judged, _ = verdicts(official, write(tmp_path / "own", change))
    assert {name: judged[name].word for name in words} == words
    for name in ("clip", "slowfast"):
        said = "\n".join(judged[name].diagnoses)
        assert (message in said) if message else said == ""


def test_a_bad_pathway_is_named(official, tmp_path):
    def change(name, array):
        if name == "slowfast":
            array = array.copy()
            array[:, -256:] = array[:, -256:][:, ::-1]
        return array

    judged, _ = verdicts(official, write(tmp_path / "own", change))
    assert judged["clip"].word == "pass"
    assert judged["slowfast"].word != "pass"
    said = "\n".join(judged["slowfast"].diagnoses)
    assert "only the fast pathway differs" in said
    assert "CLIP is good and SlowFast is not" in said


def test_the_centred_cosine_does_not_flatter(official, tmp_path):
    _, found = verdicts(official, write(tmp_path / "own", noisy(0.5)))
    assert np.median(found["clip"].centred) < np.median(found["clip"].cosines)


def test_cosines_by_hand():
    one = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    two = np.array([[4.0, 3.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(cosines(one, two), [24 / 25, 0, 1, 0])


def test_a_limit_takes_files_from_everywhere(official, tmp_path):
    _, found = verdicts(official, write(tmp_path / "own"), limit=3)
    assert list(found["clip"].per_file) == ["v0.npz", "v2.npz", "v4.npz"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["compare-features", *map(str, arguments)])


def test_the_command_says_it_all(official, tmp_path):
    own = write(tmp_path / "own", noisy(5.0))
    (own / "clip_features" / "v0.npz").unlink()
    done = run("--official", official, "--own", own, "--json", tmp_path / "report.json")
    assert done.exit_code == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clip"]["verdict"] == "fail"
    assert (report["clip"]["files"], report["clip"]["missing"]) == (5, 1)
    assert set(report["clip"]["cosine"]) == {"median", "lowest 5 %", "lowest"}
    assert "furthest from the official files" in done.stdout
    good = run("--official", official, "--own", write(tmp_path / "good"))
    assert good.exit_code == 0
    assert good.stdout.count("pass") == 3


def test_one_stream_may_be_a_folder_of_files(official):
    folder = official / "clip_features"
    assert run("--official", folder, "--own", folder, "--stream", "clip").exit_code == 0


def damage(folder: Path, kind: str) -> None:
    file = folder / "clip_features" / "v0.npz"
    if kind == "no key":
        np.savez(file, others=np.ones((2, 40)))
    elif kind == "width":
        np.savez(file, features=np.ones((20, 39)))
    elif kind == "not finite":
        np.savez(file, features=np.full((20, 40), np.nan))
    elif kind == "a text":
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "no files":
        for each in file.parent.iterdir():
            each.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no key", "v0.npz: has no key 'features'; it has others"),
        ("width", "v0.npz: is 39 wide"),
        ("not finite", "no table of finite numbers"),
        ("a text", "Git LFS pointer"),
        ("no files", "have no file in common"),
    ],
)
def test_damage_is_one_error(official, tmp_path, kind, message):
    own = write(tmp_path / "own")
    damage(own, kind)
    done = run("--official", official, "--own", own)
    assert done.exit_code == 1
    assert message in str(done.exception)


def test_folders_without_streams_are_named(official, tmp_path):
    assert "have none of" in str(run("--official", official, "--own", tmp_path).exception)
    done = run("--official", official, "--own", tmp_path / "absent", "--stream", "clip", "--stream", "text")
    assert "is not there" in str(done.exception)
