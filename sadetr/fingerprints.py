"""What decides on doing a step of the workflow again: fingerprints of code, of settings and of the content of data.

Where data lie and when they were written does not count. Free of torch.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sadetr.configuration import (
    load_method,
    resolve_corpus,
    resolve_dataset,
    resolve_features,
    resolve_simulation,
)
from sadetr.data import inputs
from sadetr.documents.templates import template_texts
from sadetr.experiments import RunId, run_settings
from sadetr.layering import find
from sadetr.layout import Layout
from sadetr.provenance import code_fingerprint, config_fingerprint, fingerprint
from sadetr.reporting.published import published_predictions
from sadetr.settings import DatasetSettings, Record

CHECK = ("sadetr.verification.checks", "sadetr.verification.rendering", "sadetr.documents.rendering")
"""Modules that ``check-data`` calls."""


class Fingerprints:
    """Fingerprints at one scale, below one data root; each file is read once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._reference = layout.scale.reference
        self._sums: dict[Path, str | None] = {}
        self._looks: dict[str, inputs.Look] = {}

    def corpus(self, setting: str) -> str:
        """What the generated corpus depends on: its code, its settings and the shape of the data."""
        parts = [resolve_corpus(setting, self._reference), self._dataset(setting)]
        code = code_fingerprint("sadetr.data.corpus.generation")
        return fingerprint(code, [part.model_dump(mode="json") for part in parts])

    def store(self, setting: str) -> str:
        """What the feature store depends on, apart from the data."""
        parts: list[Record] = [resolve_features(setting, self._reference), self._dataset(setting)]
        code = code_fingerprint("sadetr.data.preparation")
        if self._layout.scale.data == "simulated":
            parts.append(resolve_simulation(setting, self._reference))
            code = code_fingerprint("sadetr.data.simulation")
        return fingerprint(code, [part.model_dump(mode="json") for part in parts])

    def inputs(self, setting: str) -> inputs.Look:
        """What is known of the data that the feature store is made from, and what is missing of it.

        Simulated features are made from the annotations alone.
        """
        if setting not in self._looks:
            base, layout = self.inputs_base(setting), self._layout
            if layout.scale.data == "simulated":
                self._looks[setting] = inputs.Look(base)
            else:
                regenerated = layout.scale.data == "generated"
                record, store = layout.inputs(setting), layout.store(setting)
                self._looks[setting] = inputs.look(record, layout.data_root, base, store, regenerated)
        return self._looks[setting]

    def inputs_base(self, setting: str) -> str:
        """What the names of the data files follow from: the settings and, where they are given, the annotations."""
        if self._layout.scale.data == "generated":
            return self.corpus(setting)
        dataset = self._dataset(setting)
        return fingerprint(dataset.model_dump(mode="json"), self._annotations(dataset, dataset.annotations))

    def extraction(self, setting: str) -> str:
        """What features are extracted for: the streams, and the videos and sentences that annotations name."""
        dataset = self._dataset(setting)
        streams = [stream.model_dump(mode="json") for stream in (*dataset.video_streams, dataset.text_stream)]
        return fingerprint(streams, dataset.clip_length, self._annotations(dataset, dataset.annotations))

    def run(self, run: str) -> str:
        """What a training depends on beside its data: all code that can change its result, and its settings."""
        run_id = RunId.parse(run)
        code = code_fingerprint("sadetr.training.run", load_method(run_id.method).module)
        return fingerprint(code, config_fingerprint(run_settings(run_id, self._reference)))

    def check(self, setting: str) -> str:
        """What the data check depends on: names, sizes and times of all it looks at, for it reads the content itself.

        Generated data have a fingerprint of their own. The code is that of the checks and of the page they end in.
        """
        code = code_fingerprint(*CHECK), template_texts()
        known = find("sources", f"{setting}.yaml")
        parts = [self._dataset(setting).model_dump(mode="json"), known.read_text() if known.exists() else ""]
        parts += [] if self._layout.scale.data == "generated" else [self._stamps(setting)]
        return fingerprint(code, parts)

    def _stamps(self, setting: str) -> list[tuple[str, int, int]]:
        dataset, root = self._dataset(setting), self._layout.data_root
        features = root / "features" / setting
        sources = [stream.directory for stream in dataset.video_streams] + [dataset.text_stream.source]
        paths = [*self._layout.annotations(dataset).values(), *(features / source for source in sources)]
        if self._layout.scale.data == "simulated":
            paths = list(self._layout.annotations(dataset).values())
        stamps = []
        for base, path in [*((root, path) for path in paths), (self._layout.folder, self._layout.store(setting))]:
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            found = [(str(file.relative_to(base)), file.stat()) for file in files if _counts(file)]
            stamps += [(name, status.st_size, status.st_mtime_ns) for name, status in found]
        return stamps

    def scores(self) -> str:
        """What scoring depends on: its code."""
        return code_fingerprint("sadetr.reporting.scoring")

    def rescoring(self, setting: str) -> str:
        """What scoring published predictions depends on: its code, their files, and the annotations of their splits."""
        dataset = self._dataset(setting)
        files = published_predictions(self._layout.published, dataset)
        predictions = {name.name: self._sum(path) for name, path in files.items()}
        truth = self._annotations(dataset, {name.split for name in files})
        return fingerprint(self.scores(), predictions, truth)

    def rendering(self, published: Iterable[Path] = ()) -> str:
        """What tables and figures depend on beside scores: code, templates, label, published files."""
        code = [code_fingerprint("sadetr.reporting.command"), template_texts()]
        contents = [(path.parent.name, path.name, self._sum(path)) for path in published]
        return fingerprint(code, self._layout.scale.label, contents)

    def comparing(self) -> str:
        """What the comparison depends on beside scores and what is known of the paper: code, templates, label."""
        code = [code_fingerprint("sadetr.reporting.comparison_command"), template_texts()]
        return fingerprint(code, self._layout.scale.label)

    def reporting(self) -> str:
        """What the report depends on beside runs, scores and figures: its code, its templates and the label."""
        code = [code_fingerprint("sadetr.reporting.report_command"), template_texts()]
        return fingerprint(code, self._layout.scale.label)

    def _dataset(self, setting: str) -> DatasetSettings:
        return resolve_dataset(setting, self._reference)

    def _annotations(self, dataset: DatasetSettings, splits: Iterable[str]) -> dict[str, str | None]:
        files = self._layout.annotations(dataset)
        return {split: self._sum(files[split]) for split in splits}

    def _sum(self, file: Path) -> str | None:
        """SHA-256 of a file; None where there is none to read: whoever needs it says so."""
        if file not in self._sums:
            try:
                with open(file, "rb") as content:
                    self._sums[file] = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError:
                self._sums[file] = None
        return self._sums[file]


def _counts(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def prepared_text(manifest: dict[str, Any], digest: str) -> str:
    """What runs depend on, as the content of a file: checksums of a feature store and of its annotations.

    Args:
        manifest: of the store.
        digest: of the store's arrays.
    """
    sums = {split: entry["sha256"] for split, entry in manifest["annotations"].items()}
    return json.dumps({"features": digest, "annotations": sums}, indent=1) + "\n"
