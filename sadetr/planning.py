"""What planning refuses: whatever a later step would refuse for a reason that is plain before anything runs.

To add a check of a benchmark setting's data, add it to :data:`PREPARED` or :data:`TRAINED`; what an experiment needs is
in :mod:`sadetr.reporting.requirements`. Every check is quick, passes what is malformed on to whoever reads it in full,
and raises a SadetrError with the remedy. Free of torch.
"""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from sadetr.data.labelling import refuse_unlabelled
from sadetr.errors import DataError, SettingsError
from sadetr.evaluation.scorer import unknown_metrics
from sadetr.layering import find
from sadetr.layout import Layout
from sadetr.settings import DatasetSettings


def check_present(dataset: DatasetSettings, layout: Layout) -> None:
    """Refuse a preparation whose annotation files or feature folders are missing, but for those made from videos.

    Raises:
        DataError: names the first of them, and the commands that fetch data and look at them.
    """
    if layout.scale.data == "generated":
        return
    paths = list(layout.annotations(dataset).values())
    if layout.scale.data != "simulated":
        features = layout.data_root / "features" / dataset.name
        made = () if layout.videos is None else dataset.feature_folders.values()
        sources = [*(stream.directory for stream in dataset.video_streams), dataset.text_stream.source]
        paths += [features / source for source in sources if source not in made]
    _refuse_missing(paths, dataset, layout)


def check_rescored(dataset: DatasetSettings, layout: Layout, splits: Iterable[str]) -> None:
    """Refuse published predictions of ``splits`` whose annotations are missing.

    Raises:
        DataError: as :func:`check_present`.
    """
    files = layout.annotations(dataset)
    _refuse_missing([files[split] for split in splits], dataset, layout)


def check_removed(dataset: DatasetSettings, layout: Layout, removed: Iterable[str]) -> None:
    """Refuse to prepare again without files that a feature store was made from: the store would be lost.

    Args:
        dataset: the benchmark setting.
        layout: where its data lie.
        removed: paths relative to the data root.

    Raises:
        DataError: names the first of them.
    """
    gone = [layout.data_root / name for name in removed]
    if gone:
        why = "and the feature store was made from it. Put it back."
        raise DataError(f"{gone[0]}: is missing{_more(gone)}, {why} {_advice(dataset, layout)}")


def check_labels(dataset: DatasetSettings, layout: Layout) -> None:
    """Refuse a training on a split without labels, or a selection on one.

    Raises:
        DataError: names the file and what cannot be done without.
    """
    refuse_unlabelled(dataset, layout.annotations(dataset))


def check_selection(dataset: DatasetSettings, layout: Layout) -> None:
    """Refuse to select checkpoints by a metric that a training does not compute.

    Raises:
        SettingsError: names the file, the rule and the metric.
    """
    for message in unknown_metrics(dataset):
        raise SettingsError(f"{find('settings', f'{dataset.name}.yaml')}: {message}")


Check = Callable[[DatasetSettings, Layout], None]
PREPARED: tuple[Check, ...] = (check_present,)
"""Checks of the data of a setting whose features are prepared."""
TRAINED: tuple[Check, ...] = (check_selection, check_labels)
"""Checks of the data of a setting that is trained on, beside those."""


def _refuse_missing(paths: Iterable[Path], dataset: DatasetSettings, layout: Layout) -> None:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DataError(f"{missing[0]}: is missing{_more(missing)}. {_advice(dataset, layout)}")


def _more(paths: list[Path]) -> str:
    others = ", ".join(map(str, paths[1:3])) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
    return f" (so {'is' if len(paths) == 2 else 'are'} {others})" if others else ""


def _advice(dataset: DatasetSettings, layout: Layout) -> str:
    where = f"--setting {dataset.name} --data-root {shlex.quote(str(layout.data_root))}"
    reference = layout.scale.reference
    scale = "" if reference == "paper" else f" --scale {shlex.quote(reference)}"
    return (
        f"`python -m sadetr download {where}` fetches what has a known address, `python -m sadetr check-data {where}"
        f"{scale}` says what else is missing or wrong."
    )
