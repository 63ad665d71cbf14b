"""What Snakemake loses, changes or ignores of the words on its command line."""

from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_config

from sadetr.commandline import check_config, check_profiles, mended
from sadetr.errors import SettingsError
from sadetr.workflow import Workflow

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--cores 1 --resources gpu=1 all", "all --cores 1 --resources gpu=1"),
        ("--cores 1 --res gpu=1 mem_mb=2 table4 table5", "table4 table5 --cores 1 --res gpu=1 mem_mb=2"),
        ("-n --config scale=mini all --cores 1", "all -n --config scale=mini --cores 1"),
        ("-C scale=mini all", "all -C scale=mini"),
        ("--configfile my.yaml all --cores 1", "all --configfile my.yaml --cores 1"),
        ("--config scale=mini all --resources gpu=2 compare", "all compare --config scale=mini --resources gpu=2"),
        ("table1 --resources gpu=1 all -- table4", "all table1 --resources gpu=1 -- table4"),
    ],
)
def test_targets_behind_a_greedy_option_come_first(typed, expected):
    assert mended(typed.split()) == expected.split()
    assert mended(expected.split()) == expected.split()


@pytest.mark.parametrize(
    "typed",
    [
        "all --cores 1",
        "--cores all all",
        "--resources=gpu=1 --cores 1",
        "--resources=gpu=1 all",
        "--resources gpu=1 -- all",
        "--configfile my.yaml other.yml third.json",
        "--configfile a_name_without_suffix",
        "--quiet all --cores 1",
        "--forcerun train all",
        "--resources",
        "",
    ],
)
def test_what_snakemake_can_parse_is_left_alone(typed):
    assert mended(typed.split()) == typed.split()


def test_a_file_that_exists_is_a_configuration_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").touch()
    assert mended(["--configfile", "settings", "settings", "all"]) == ["all", "--configfile", "settings", "settings"]


def check(*values: str) -> None:
    check_config(["--cores", "1", "--config", *values], parse_config(list(values)))


@pytest.mark.parametrize(
    "name", ["true", "null", "2024-06-01", "0x10", "a b'ü", "it's", "ä/ö", "[x", "'quoted'", "1_", "./2024_06", "~/x"]
)
def test_names_that_arrive_as_typed_are_taken(name):
    check(f"results={name}", "scale=mini")


@pytest.mark.parametrize("name", ["2024_06", "0123", "1e5", "nan", "inf", "-1", "True", "'2024_06'", "12"])
def test_a_name_that_is_read_as_a_number_is_refused_with_the_spelling_that_works(name):
    with pytest.raises(SettingsError, match=f"results={name}: Snakemake reads this as") as caught:
        check("scale=mini", f"results={name}")
    remedy = str(caught.value).rpartition("--config ")[2]
    assert remedy == "results=./" + name.strip("'")
    check(remedy)
    assert parse_config([remedy])["results"] == remedy.partition("=")[2]


@pytest.mark.parametrize("name", ["a #b", "two: words", "name'"])
def test_a_name_that_no_spelling_saves_goes_into_a_file(name):
    with pytest.raises(SettingsError, match="--configfile") as caught:
        check(f"results={name}")
    assert yaml.safe_load(str(caught.value).partition("--configfile: ")[2]) == {"results": name}


def test_an_empty_value_and_a_lost_one_are_refused():
    with pytest.raises(SettingsError, match="give it a value"):
        check("results=")
    words = ["--config", "scale=paper", "--cores", "1", "-Cresults=x"]
    with pytest.raises(SettingsError, match="scale=paper: lost"):
        check_config(words, {"results": "x"})


@pytest.mark.parametrize("value", ["2024-06-01", "202406", "1.5", "true", "null", "[a]", "{a: b}", "''"])
def test_a_configuration_file_must_hold_text(value):
    with pytest.raises(SettingsError, match=r"results: found .*--config results=\./NAME"):
        Workflow({"results": yaml.safe_load(value)})


def test_braces_are_refused_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="wildcards"):
        Workflow({"results": "a{b}"})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workflow({"results": "~/results"}).folder == tmp_path / "results/mini"


def test_a_profile_that_snakemake_would_ignore_is_refused(tmp_path):
    for good in ("default", "slurm", "none", "profiles/slurm", str(ROOT / "profiles/slurm")):
        check_profiles(["--workflow-profile", good], ROOT, ROOT)
        check_profiles([f"--workflow-profile={good}", "all"], ROOT, ROOT)
    check_profiles(["--workflow-profile", "slurm"], ROOT, tmp_path)
    check_profiles(["--profile", "of_my_cluster"], ROOT, ROOT)
    with pytest.raises(SettingsError, match=r"--workflow-profile slrum: .*known: default, slurm"):
        check_profiles(["--workflow-profile", "slrum"], ROOT, ROOT)
    with pytest.raises(SettingsError, match="write --workflow-profile slurm"):
        check_profiles(["--profile", "profiles/slurm"], ROOT, ROOT)
