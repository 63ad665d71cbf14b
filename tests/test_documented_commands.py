"""Every command in the README and the documentation has the subcommand and the options that it is shown with."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from sadetr.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (*ROOT.glob("*.md"), *ROOT.glob("[dbr]*/*.md")))
CALL = re.compile(r"(?:python -m sadetr|^\s*(?:\$ )?sadetr) ([^)]*)")
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in COMMANDS.items()
}


def calls(page: str) -> list[str]:
    """What stands behind ``python -m sadetr`` in blocks of code, or between backticks, of a page."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / page).read_text(encoding="utf-8"))
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", prose)]
    return [match[1] for line in lines if (match := CALL.search(line))]


def unknown(call: str) -> list[str]:
    """Subcommand or options of a call that are none."""
    try:
        words = shlex.split(call, comments=True)
    except ValueError:
        words = call.split()
    if not words or words[0].startswith(("-", "...", "<")):
        return []
    name, *rest = words
    if name not in OPTIONS:
        return [name]
    given = [word.split("=")[0].rstrip(",.") for word in rest if re.match(r"--[a-z]", word)]
    return [f"{name} {option}" for option in given if option not in OPTIONS[name] and option != "--help"]


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_exist(page):
    assert [found for call in calls(page) for found in unknown(call)] == []


def test_calls_are_found_and_strangers_too():
    assert len(calls("README.md")) > 30
    assert unknown("extract --setting qvhighlights --videos VIDEOS  # and more") == []
    assert unknown("extract --vidoes VIDEOS") == ["extract --vidoes"]
    assert unknown("extrakt") == ["extrakt"]
