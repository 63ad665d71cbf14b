"""How far a run is, and what it says of itself: read from its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr.configuration import load_method
from sadetr.errors import ResultsError
from sadetr.experiments import RunId, run_settings
from sadetr.provenance import code_fingerprint, config_fingerprint
from sadetr.reporting.scores import ScaleResults


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    run: RunId
    state: str
    """``trained``, ``not evaluated``, ``unfinished`` or ``not trained``."""
    provenance: dict[str, Any]
    """What a trained run says of itself; empty otherwise."""
    outdated: tuple[str, ...]
    """What has changed since it was trained: ``code``, ``settings``."""


def state_of(run: RunId, results: ScaleResults, scale: str) -> RunState:
    """How far ``run`` is, and whether code or settings have changed since.

    Raises:
        ResultsError: its provenance cannot be read.
    """
    folder = results.layout.run(run)
    if not folder.provenance.exists():
        return RunState(run, "unfinished" if folder.state.exists() else "not trained", {}, ())
    provenance = _read_json(folder.provenance)
    now = {
        "code": ("code_fingerprint", code_fingerprint("sadetr.training.run", load_method(run.method).module)),
        "settings": ("config_fingerprint", config_fingerprint(run_settings(run, scale))),
    }
    outdated = tuple(name for name, (key, value) in now.items() if provenance.get(key) != value)
    return RunState(run, "trained" if folder.metrics.exists() else "not evaluated", provenance, outdated)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete the run's folder and train it again") from error
