"""What an experiment must have to be scored, rendered and compared: asked when the work is planned and when it is done.

Everything here follows from configuration files and the paper's numbers, so that planning refuses before anything is
trained what a renderer would refuse after it. To add a requirement of a layout, add it to :data:`NEEDS`. Free of torch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sadetr.configuration import ScaleSettings, resolve_dataset
from sadetr.errors import SettingsError
from sadetr.evaluation.scorer import metric_names
from sadetr.experiments import Experiment, Row, RunId, run_settings
from sadetr.layering import find
from sadetr.reporting.chance import Chance, Reference
from sadetr.reporting.paper import PaperTable, PaperValue, load_paper_table
from sadetr.reporting.settings_columns import COLUMNS, load_paper_settings, paper_key

REFERENCE = "full"
"""Row that the others are compared with, where a layout compares rows."""


@dataclass(frozen=True)
class Needs:
    """What an experiment of one layout is, and what it needs beside scores."""

    kind: str
    """``table`` or ``figure``."""
    needs: tuple[Callable[[Experiment, ScaleSettings], object], ...] = ()
    """Each raises SettingsError."""


def check_rendered(experiment: Experiment, scale: ScaleSettings) -> None:
    """Refuse an experiment that could not be rendered.

    Raises:
        SettingsError: names the file, the row and what is wrong with it.
    """
    layout = NEEDS.get(experiment.layout)
    if layout is None:
        raise SettingsError(f"{_file(experiment)}: no layout {experiment.layout!r}; known: {', '.join(NEEDS)}")
    if layout.kind != experiment.kind:
        fitting = ", ".join(name for name, other in NEEDS.items() if other.kind == experiment.kind)
        raise SettingsError(
            f"{_file(experiment)}: layout {experiment.layout!r} makes a {layout.kind}, not a {experiment.kind}; "
            f"choose one of {fitting}, or write 'kind: {layout.kind}'"
        )
    for row in experiment.rows:
        _check_seeds(experiment, row)
        _check_scored(experiment, row, scale)
    for need in layout.needs:
        need(experiment, scale)


def check_compared(experiments: Iterable[Experiment], chance: Chance) -> None:
    """Refuse numbers that could not be compared with the paper's.

    Raises:
        SettingsError: a row or a metric is missing, a number is of another split, or its spread is not known.
    """
    for experiment in experiments:
        table = compared_table(experiment)
        for row in experiment.rows:
            for metric in experiment.metrics if row.runs or row.rescored else ():
                paper = compared_value(experiment, row, metric, table)
                if paper is not None and row.runs:
                    planned_spread(experiment, row, chance.reference(experiment, row, paper), metric, chance)


def paper_table(experiment: Experiment) -> PaperTable:
    """The paper's numbers beside an experiment; none where no row has one and no file is there.

    Raises:
        SettingsError: the file is missing or malformed.
    """
    path = find("paper", f"{experiment.name}.csv")
    if not experiment.has_paper_numbers and not path.exists():
        return PaperTable(path, {})
    return load_paper_table(experiment.name)


def compared_table(experiment: Experiment) -> PaperTable | None:
    """The paper's numbers that an experiment is compared with; None where it has none.

    Raises:
        SettingsError: the file is missing or malformed.
    """
    return load_paper_table(experiment.name) if experiment.has_paper_numbers else None


def compared_value(experiment: Experiment, row: Row, metric: str, table: PaperTable | None) -> PaperValue | None:
    """The paper's number that a score is compared with, None where it reports none.

    Raises:
        SettingsError: the paper's table has no such cell, or its number is of another split.
    """
    if table is None or (paper := table.of(row, metric)).value is None:
        return None
    if paper.split != experiment.split:
        raise SettingsError(
            f"{table.path}: {row.key},{metric} is a number of split {paper.split!r}, but {experiment.name} scores "
            f"{experiment.split!r}; correct one of the two"
        )
    return paper


def planned_spread(experiment: Experiment, row: Row, reference: Reference, metric: str, chance: Chance) -> float:
    """Standard deviation of one training of a row, in percentage points, if it is what the paper's is.

    Raises:
        SettingsError: it is not known.
    """
    run = row.runs[0]
    return chance.spread(run.setting, run.method, experiment.split, metric, reference.value)


def reference_row(experiment: Experiment) -> Row:
    """The row that the others are compared with.

    Raises:
        SettingsError: there is none.
    """
    for row in experiment.rows:
        if row.key == REFERENCE:
            return row
    raise SettingsError(f"{_file(experiment)}: the row {REFERENCE!r}, which the others are compared with, is missing")


def place_of(experiment: Experiment, row: Row) -> float:
    """The row's place on the horizontal axis.

    Raises:
        SettingsError: it has none.
    """
    if row.x is None:
        raise SettingsError(f"{_file(experiment)}: row {row.key!r} has no x, its place on the horizontal axis")
    return row.x


def examined_setting(experiment: Experiment) -> str:
    """The benchmark setting of an experiment about single queries.

    Raises:
        SettingsError: the first row has no run, or there are several settings.
    """
    settings = {run.setting for run in experiment.runs}
    if not experiment.rows[0].runs or len(settings) != 1:
        raise SettingsError(
            f"{_file(experiment)}: the first row must have a run, and all runs must be of one setting; here they are "
            f"of {', '.join(sorted(settings)) or 'none'}"
        )
    return settings.pop()


def only_run(experiment: Experiment, row: Row) -> RunId:
    """The run of a row that shows one.

    Raises:
        SettingsError: the row has none, or several.
    """
    if len(row.runs) != 1:
        raise SettingsError(f"{_file(experiment)}: row {row.key!r} must have one run; give it a variant and one seed")
    return row.runs[0]


def _file(experiment: Experiment) -> str:
    return str(find("experiments", f"{experiment.name}.yaml"))


def _check_seeds(experiment: Experiment, row: Row) -> None:
    twice = next((run for run in row.runs if row.runs.count(run) > 1), None)
    if twice is not None:
        raise SettingsError(f"{_file(experiment)}: row {row.key!r} has seed {twice.seed} twice; name every seed once")


def _check_scored(experiment: Experiment, row: Row, scale: ScaleSettings) -> None:
    """Whether scoring the row's runs and published predictions gives the experiment's split and metrics."""
    setting = row.runs[0].setting if row.runs else row.rescored.setting if row.rescored else None
    if setting is None or not experiment.split:
        return
    dataset, place = resolve_dataset(setting, scale.reference), f"{_file(experiment)}: row {row.key!r}"
    splits = dataset.report_splits if row.runs else list(dataset.annotations)
    if experiment.split not in splits:
        remedy = "name one of these, or add it to report_splits of the setting"
        raise SettingsError(
            f"{place}: setting {setting!r} is not scored on split {experiment.split!r}, only on {', '.join(splits)}; "
            f"{remedy}"
        )
    known = metric_names(dataset.highlights)
    for metric in experiment.metrics:
        if metric not in known:
            reason = "which is scored with 'highlights: true' only" if metric in metric_names(True) else "unknown"
            plain = ", ".join(name for name in known if "/" not in name)
            raise SettingsError(f"{place}: metric {metric!r}, {reason}; setting {setting!r} is scored by {plain}")


def _metrics(experiment: Experiment, scale: ScaleSettings) -> None:
    if not experiment.metrics:
        raise SettingsError(f"{_file(experiment)}: layout {experiment.layout!r} shows metrics; add the key 'metrics'")


def _validated_metric(experiment: Experiment, scale: ScaleSettings) -> None:
    """Curves are of the metrics and splits that a training validates."""
    _metrics(experiment, scale)
    for run in experiment.runs:
        dataset = resolve_dataset(run.setting, scale.reference)
        splits = dataset.selection_splits
        if experiment.split not in splits or "/" in experiment.metrics[0]:
            raise SettingsError(
                f"{_file(experiment)}: a training of setting {run.setting!r} does not validate "
                f"{experiment.metrics[0]!r} on split {experiment.split!r} but the plain metrics on "
                f"{', '.join(sorted(splits))}"
            )


def _paper_cells(experiment: Experiment, scale: ScaleSettings) -> None:
    table = paper_table(experiment)
    for row in experiment.rows:
        for metric in experiment.metrics:
            table.of(row, metric)


def _different_names(experiment: Experiment, scale: ScaleSettings) -> None:
    names = [row.labels[experiment.label_columns[0]] for row in experiment.rows if row.published_log is None]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(
            f"{_file(experiment)}: two rows are called {twice!r} in the column {experiment.label_columns[0]!r}, by "
            "which this layout tells them apart; rename one"
        )


def _one_axis(experiment: Experiment, scale: ScaleSettings) -> None:
    if len(experiment.metrics) != 1 or len(experiment.label_columns) != 1:
        raise SettingsError(
            f"{_file(experiment)}: layout {experiment.layout!r} shows one metric and one label column, not "
            f"{len(experiment.metrics)} and {len(experiment.label_columns)}"
        )
    for row in experiment.rows:
        place_of(experiment, row)


def _printed_settings(experiment: Experiment, scale: ScaleSettings) -> None:
    """The paper's file has every row and column, and every run's method what the columns are read from."""
    paper_file = find("paper", f"{experiment.name}.csv")
    paper = load_paper_settings(paper_file)
    for row in experiment.rows:
        paper_key(row, paper, paper_file)
        run = only_run(experiment, row)
        settings = run_settings(run, scale.reference).model_dump(mode="json")
        for column, read in COLUMNS.items():
            try:
                read(settings)
            except (KeyError, TypeError, ValueError):
                raise SettingsError(
                    f"{_file(experiment)}: row {row.key!r}: method {run.method!r} has no value for the column "
                    f"{column!r} of layout 'settings'; leave the row out"
                ) from None


NEEDS: dict[str, Needs] = {
    "metrics": Needs("table", (_metrics, _paper_cells)),
    "seeds": Needs("table", (_metrics, _paper_cells, _different_names)),
    "settings": Needs("table", (_printed_settings,)),
    "sensitivity": Needs("table", (_metrics, lambda experiment, scale: reference_row(experiment))),
    "convergence": Needs("figure", (_validated_metric, _different_names)),
    "qualitative": Needs("figure", (lambda experiment, scale: examined_setting(experiment), _different_names)),
    "sweep": Needs("figure", (_one_axis,)),
}
"""Layout of an experiment file -> what it needs; :mod:`sadetr.reporting.command` renders it."""
