"""Whether a finished run is still what its training and its evaluation left: checksums, and scores computed again."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors

from sadetr.errors import ResultsError, SadetrError
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout, RunFolder
from sadetr.provenance import fingerprint
from sadetr.reporting.metrics import KEY_COLUMNS, read_metrics, write_run_metrics
from sadetr.reporting.query_scores import read_query_scores, write_query_scores
from sadetr.reporting.scoring import ScoredRun, read_provenance, scored_run
from sadetr.settings import DatasetSettings

State = Literal["ok", "differs", "missing", "not recorded", "not here"]
FAILING: tuple[State, ...] = ("differs", "missing")
"""The others say that there is nothing to compare with: an older run, or data that lie elsewhere."""
FINGERPRINTS = ("code_fingerprint", "config_fingerprint", "features", "annotations")
"""What the file of a checkpoint says of its training, beside the epoch."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    """A file of the run folder, and what of it."""
    state: State
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether it gives no reason for doubt."""
        return self.state not in FAILING

    def __str__(self) -> str:
        return f"{self.state:<12} {self.what}{f': {self.detail}' if self.detail else ''}"


def verify_run(run: RunId, layout: Layout) -> list[Check]:
    """Everything that can be checked of one run, in the order in which it was made.

    Raises:
        SettingsError: the run is of no known setting, method or variant.
    """
    folder, dataset = layout.run(run), run_settings(run, layout.scale.reference).dataset
    try:
        provenance = read_provenance(folder.provenance)
    except ResultsError as error:
        there = folder.provenance.exists()
        return [Check("provenance.json", "differs" if there else "missing", str(error) if there else "not finished")]
    checks = [
        *_prepared(layout, run.setting, provenance),
        *_files(folder, dataset, provenance),
        _config(folder, provenance),
        *(_weights(folder, name, provenance) for name in dataset.checkpoints),
        *_history(folder, dataset, provenance),
    ]
    return [*checks, *_metrics(run, layout, dataset)]


def print_checks(found: Mapping[RunId, Sequence[Check]]) -> bool:
    """One line per check of a single run; of several, one line per run and its faults. Whether all passed."""
    for run, checks in found.items():
        faults = [check for check in checks if not check.passed]
        print(f"{run}: {len(checks)} checks, {f'{len(faults)} FAILED' if faults else 'all passed'}")
        for check in checks if len(found) == 1 else faults:
            print(f"  {check}")
    failed = [run for run, checks in found.items() if not all(check.passed for check in checks)]
    if len(found) > 1:
        print(f"{len(found)} runs: {f'{len(failed)} FAILED' if failed else 'all passed'}")
    return not failed


def _compared(what: str, found: Any, recorded: Any, source: str = "provenance.json") -> Check:
    if recorded is None:
        return Check(what, "not recorded", f"{source} is of an older version")
    if found == recorded:
        return Check(what, "ok")
    return Check(what, "differs", f"found {found}, {source} says {recorded}")


def _prepared(layout: Layout, setting: str, provenance: dict[str, Any]) -> Iterator[Check]:
    """The prepared features and annotations are those of the training."""
    path = layout.prepared(setting)
    try:
        prepared = json.loads(path.read_text(encoding="utf-8"))
        annotations = hashlib.sha256(json.dumps(prepared["annotations"], sort_keys=True).encode()).hexdigest()[:16]
        found = {"features": prepared["features"], "annotations": annotations}
    except FileNotFoundError:
        yield Check(f"prepared/{setting}.json", "not here", "features and annotations are not compared")
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Check(f"prepared/{setting}.json", "differs", f"cannot be read ({error})")
    else:
        for name, value in found.items():
            yield _compared(f"prepared/{setting}.json, {name}", value, provenance.get(name))


def _files(folder: RunFolder, dataset: DatasetSettings, provenance: dict[str, Any]) -> Iterator[Check]:
    """Every file of the training has the checksum that it had at the end of it."""
    recorded = provenance.get("files_sha256", {})
    files = [folder.config, folder.history, *map(folder.checkpoint, dataset.checkpoints)]
    files += [folder.prediction(name, split) for name in dataset.checkpoints for split in dataset.report_splits]
    for name in dict.fromkeys([*(str(file.relative_to(folder.path)) for file in files), *recorded]):
        try:
            found = _sha256(folder.path / name)
        except OSError as error:
            yield Check(name, "missing", error.strerror or str(error))
        else:
            yield _compared(f"{name}, SHA-256", found, recorded.get(name))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config(folder: RunFolder, provenance: dict[str, Any]) -> Check:
    """The settings are those that the training was known by."""
    what = "config.json, fingerprint"
    try:
        values = json.loads(folder.config.read_text(encoding="utf-8"))
        # What RunSettings.identity leaves out.
        found = fingerprint({key: value for key, value in values.items() if key not in ("variant", "execution")})
    except FileNotFoundError:
        return Check(what, "missing")
    except (OSError, ValueError, AttributeError) as error:
        return Check(what, "differs", f"cannot be read ({error})")
    return _compared(what, found, provenance.get("config_fingerprint"))


def _weights(folder: RunFolder, name: str, provenance: dict[str, Any]) -> Check:
    """The weights are those of the training, and their file says which training and epoch they are of."""
    path, what = folder.checkpoint(name), f"checkpoints/{name}.safetensors, weights"
    sha = hashlib.sha256()
    try:
        with safetensors.safe_open(path, "np") as file:
            for key in sorted(file.keys()):
                sha.update(key.encode())
                sha.update(file.get_tensor(key).tobytes())
            says = json.loads(file.metadata()["metadata"])
    except FileNotFoundError:
        return Check(what, "missing")
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        return Check(what, "differs", f"cannot be read ({error})")
    expected = {"epoch": str(provenance["epochs"].get(name))} | {key: provenance.get(key) for key in FINGERPRINTS}
    for key, value in expected.items():
        if says.get(key) != value:
            return _compared(f"{what}, {key}", says.get(key), value)
    return _compared(what, sha.hexdigest(), provenance.get("weights_sha256", {}).get(name))


def _history(folder: RunFolder, dataset: DatasetSettings, provenance: dict[str, Any]) -> Iterator[Check]:
    """The epochs that the checkpoints are of follow from the history."""
    try:
        with pq.ParquetFile(folder.history) as file:
            history = file.read().to_pydict()
    except FileNotFoundError:
        yield Check("history.parquet", "missing")
        return
    except (OSError, pa.ArrowException) as error:
        yield Check("history.parquet", "differs", f"cannot be read ({error})")
        return
    epochs = list(range(1, provenance["epochs"]["last"] + 1))
    yield _compared("history.parquet, epochs", history.get("epoch"), epochs)
    took, recorded = sum(history.get("seconds", [])), provenance["train_seconds"]
    yield _compared("history.parquet, duration", f"{took:.3f} s", f"{recorded:.3f} s")
    for name, rule in dataset.checkpoints.items():
        if rule is not None:
            columns = [history.get(f"{rule.split}/{metric}", []) for metric in rule.metrics]
            rows = list(zip(*columns, strict=False))
            values = {place: sum(row) for place, row in enumerate(rows, 1) if None not in row}
            # The first of equally good epochs.
            best = max(values, key=lambda place: (values[place], -place), default=None)
            yield _compared(f"history.parquet, epoch of {name!r}", best, provenance["epochs"].get(name))


def _metrics(run: RunId, layout: Layout, dataset: DatasetSettings) -> Iterator[Check]:
    """The metrics are of these predictions, and scoring them again gives the same."""
    folder = layout.run(run)
    try:
        stored = read_metrics(folder.metrics)
    except ResultsError as error:
        there = folder.metrics.exists()
        yield Check("metrics.parquet", "differs" if there else "missing", str(error) if there else "not evaluated")
        return
    for checkpoint, split, recorded in _distinct(stored, "checkpoint", "split", "predictions_sha256"):
        path = folder.prediction(checkpoint, split)
        if path.exists():
            what = f"predictions/{path.name}, SHA-256 in metrics.parquet"
            yield _compared(what, _sha256(path), recorded, "metrics.parquet")
    yield from _scored_again(run, layout, dataset, stored)


def _distinct(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(zip(*(table[name].to_pylist() for name in columns), strict=True)))


def _scored_again(run: RunId, layout: Layout, dataset: DatasetSettings, stored: pa.Table) -> Iterator[Check]:
    what, folder = "metrics.parquet, scored again", layout.run(run)
    try:
        absent = [file for file in layout.annotations(dataset).values() if not file.exists()]
        if absent:
            yield Check(what, "not here", f"{absent[0]}: is missing")
            return
    except SadetrError as error:
        yield Check(what, "not here", str(error))
        return
    try:
        with tempfile.TemporaryDirectory() as place:
            scored, again = scored_run(run, layout), Path(place) / folder.metrics.name
            write_run_metrics(scored.rows, again)
            same_writer = _writer(folder.metrics) == _writer(again)
            if again.read_bytes() == folder.metrics.read_bytes():
                yield Check(what, "ok")
            else:
                yield _difference(what, stored, read_metrics(again), same_writer)
            yield _queries_again(folder.query_scores, scored, Path(place), same_writer)
    except (SadetrError, OSError) as error:
        yield Check(what, "differs", str(error))


def _queries_again(path: Path, scored: ScoredRun, place: Path, same_writer: bool) -> Check:
    what, again = f"{path.name}, scored again", place / path.name
    if not path.exists():
        return Check(what, "not recorded", "evaluated by an older version")
    write_query_scores(scored.queries, again)
    if again.read_bytes() == path.read_bytes():
        return Check(what, "ok")
    same_rows = read_query_scores(again).equals(read_query_scores(path))
    if same_rows and not same_writer:
        return Check(what, "ok", "another version of Parquet's library wrote it")
    return Check(what, "differs", "its bytes" if same_rows else "its rows")


def _writer(path: Path) -> str:
    with pq.ParquetFile(path) as file:
        return file.metadata.created_by


def _difference(what: str, stored: pa.Table, again: pa.Table, same_writer: bool) -> Check:
    """The first difference; equal rows may have other bytes if another version of the library wrote them."""
    ours, theirs = stored.to_pylist(), again.to_pylist()
    for here, there in zip(ours, theirs, strict=False):
        for column in here:
            if here[column] != there[column]:
                key = ", ".join(str(there[name]) for name in KEY_COLUMNS if there[name] is not None)
                return Check(what, "differs", f"{key}: {column} is {here[column]}, scored again {there[column]}")
    if len(ours) != len(theirs):
        return Check(what, "differs", f"{len(ours)} rows, scored again {len(theirs)}")
    if same_writer:
        return Check(what, "differs", "its rows are the same, its bytes are not")
    return Check(what, "ok", "another version of Parquet's library wrote it")
