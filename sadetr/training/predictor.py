"""Trained or imported weights as a predictor: what ``predict`` and ``evaluate --checkpoint`` load.

A run's checkpoint is of the settings that the run has now. A file of one's own says by its metadata which method it is
of (``import-weights`` writes it there), or lies in a run's folder, beside the settings that it was trained with.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sadetr.configuration import load_method, resolve
from sadetr.data.annotations import Query
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout, RunFolder
from sadetr.models.construction import make_method
from sadetr.models.interface import Method
from sadetr.provenance import config_fingerprint
from sadetr.settings import RunSettings
from sadetr.shapes import TEMPORAL_FEATURES
from sadetr.training.checkpoint import Weights, read_tensors
from sadetr.training.devices import claimed_device
from sadetr.training.prediction import predict
from sadetr.training.reproducibility import make_deterministic

SHOWN = 3
"""Tensors named in a message."""

StoreOpener = Callable[[], FeatureStore]


@dataclass(frozen=True)
class Predictor:
    """A network with weights, and the features that it reads once it is asked."""

    name: str
    """Where the weights come from, for readers."""
    model: Method
    settings: RunSettings
    open_store: StoreOpener

    def __call__(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Submission rows of ``queries``, in their order; the same as a training writes.

        Raises:
            StoreError: the features are not prepared, or lack a video or query.
            DataError: the features cannot be prepared.
        """
        settings, training = self.settings, self.settings.training
        split = Split(queries, self.open_store(), settings.dataset)
        with claimed_device(settings.execution.device) as device:
            make_deterministic(settings.execution.threads)
            model = self.model.to(device)
            return predict(model, split, training.batch_size, device, ranking=training.ranking).rows(queries)


def run_predictor(run: RunId, layout: Layout, checkpoint: str, open_store: StoreOpener) -> Predictor:
    """The network of a finished run.

    Raises:
        SettingsError: the benchmark setting keeps no such checkpoint.
        ResultsError: the run is not trained, or was trained with other settings.
    """
    settings = run_settings(run, layout.scale.reference)
    known = settings.dataset.checkpoints
    if checkpoint not in known:
        raise SettingsError(
            f"--checkpoint {checkpoint}: beside --run it is one of {', '.join(known)}; leave --run out to name a file"
        )
    path = layout.run(run).checkpoint(checkpoint)
    if not path.exists():
        raise ResultsError(f"{path}: not there; train the run first: python -m sadetr train --run {run}")
    weights, metadata = read_tensors(path)
    if metadata.get("config_fingerprint") != config_fingerprint(settings):
        raise ResultsError(f"{path}: was trained with other settings than the run has now; train it again")
    return Predictor(f"{run} ({checkpoint})", load_network(path, settings, weights), settings, open_store)


def file_predictor(
    path: Path, setting: str, layout: Layout, method: str | None, variant: str | None, open_store: StoreOpener
) -> Predictor:
    """The network of a checkpoint file, for any benchmark setting that it fits.

    Args:
        path: safetensors file with our names, of ``import-weights`` or of a run.
        setting: benchmark setting that is predicted.
        layout: the scale, which decides on the network's sizes.
        method: where the file does not say it.
        variant: of the method; default: the one that the file's run has, else the method's first.
        open_store: gives the features of ``setting``.

    Raises:
        SettingsError: nobody says which method it is, or two say different ones.
        ResultsError: the file cannot be read, or is of a network of other sizes.
    """
    try:
        weights, metadata = read_tensors(path)
    except ResultsError as error:
        raise ResultsError(
            f"{error}; correct the path, or import an official checkpoint first: python -m sadetr import-weights FILE "
            "--method METHOD"
        ) from error
    found = _origin(path) | {key: value for key, value in metadata.items() if key in ("method", "variant")}
    if method is None and "method" not in found:
        raise SettingsError(f"{path}: does not say which method it is of; add --method")
    if method is not None and found.get("method", method) != method:
        raise SettingsError(f"{path}: is of method {found['method']!r}, not {method!r}; leave --method out")
    method = method or found["method"]
    variant = variant or found.get("variant") or next(iter(load_method(method).variants))
    settings = resolve(setting, method, variant, RunSettings.model_fields["seed"].default, layout.scale.reference)
    return Predictor(str(path), load_network(path, settings, weights), settings, open_store)


def _origin(path: Path) -> dict[str, str]:
    """Method and variant of the run that a checkpoint lies in the folder of; empty elsewhere."""
    try:
        config = json.loads(RunFolder(path.absolute().parents[1]).config.read_text(encoding="utf-8"))
        return {key: config[key] for key in ("method", "variant")}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def load_network(path: Path, settings: RunSettings, weights: Weights) -> Method:
    """The network of ``settings`` with ``weights``.

    Raises:
        ResultsError: they do not fit; names the first tensors, and the settings that decide on them.
    """
    model = make_method(settings)
    expected = model.state_dict()
    faults = _misfits(weights, expected, settings)
    if faults:
        network = f"{settings.method}/{settings.variant} for {settings.setting}"
        raise ResultsError(
            f"{path}: does not fit the network {network}: {'; '.join(faults)}. Choose the --scale, --setting and "
            "--variant that it was trained with; an official checkpoint is imported first: python -m sadetr "
            f"import-weights FILE --method {settings.method}"
        )
    model.load_state_dict(weights)
    return model


def _misfits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], settings: RunSettings) -> list[str]:
    sizes = _sizes(settings)
    faults = []
    other = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    for name in other[:SHOWN]:
        found, wanted = list(weights[name].shape), list(expected[name].shape)
        differing = [size for place, size in enumerate(wanted) if found[place : place + 1] != [size]]
        deciding = dict.fromkeys(key for size in differing for key, value in sizes.items() if value == size)
        faults.append(f"tensor {name!r} is {found} in the file and {wanted} by {', '.join(deciding) or 'its settings'}")
    for names, where in (
        ([name for name in expected if name not in weights], "is not in the file"),
        ([name for name in weights if name not in expected], "is not in the network"),
    ):
        if names:
            faults.append(f"tensor {names[0]!r}{_more(names)} {where} ({_structure(settings)})")
    return [*faults, f"{len(other) - SHOWN} more of other sizes"] if len(other) > SHOWN else faults


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _sizes(settings: RunSettings) -> dict[str, int]:
    """Settings that tensors get their sizes from."""
    shape = settings.dataset.feature_shape
    streams = " + ".join(f"{stream.name} {stream.width}" for stream in settings.dataset.video_streams)
    sizes = {
        f"dataset.video_streams ({streams}, and {TEMPORAL_FEATURES})": shape.video_width,
        f"dataset.text_stream.width ({shape.text_width})": shape.text_width,
    }
    if shape.characters:
        sizes[f"dataset.text_stream.characters ({shape.characters} with padding and unknown ones)"] = shape.characters
    return sizes | {f"model.{key} ({value})": value for key, value in _integers(settings) if not _is_depth(key)}


def _structure(settings: RunSettings) -> str:
    """Settings that decide which tensors there are."""
    return ", ".join(f"model.{key} {value}" for key, value in _integers(settings) if _is_depth(key))


def _integers(settings: RunSettings) -> list[tuple[str, int]]:
    return [(key, value) for key, value in settings.model.model_dump().items() if type(value) is int]


def _is_depth(key: str) -> bool:
    return key.endswith(("_layers", "_blocks"))
