"""Which queries have labels, and what follows from those that have none (docs/data.md, "Rows without labels").

Training leaves rows without labels out, scoring counts them for nothing, and a split without any label can be
predicted but neither trained nor selected on. Free of torch.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sadetr.data.annotations import Query
from sadetr.data.labels import RULES
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings

FIELDS = {
    "windows": "relevant_windows",
    "saliency": "saliency_scores",
    "relevant_clip_ids": "relevant_clip_ids",
}
"""Part of a query -> field of the annotation file."""
HIGHLIGHT_METRICS = ("HD_mAP", "HIT@1")
"""How the names of metrics begin that need saliency; all others need windows."""
SHOWN = 5
"""qids named in a message."""

Needs = tuple[str, ...]
"""Parts of a query, keys of :data:`FIELDS`."""


@dataclass(frozen=True)
class Requirement:
    """Labels of which a split must have some row with all ``needs``."""

    split: str
    needs: Needs
    consequence: str
    """What cannot be done without, and the remedy."""


def part_of(metric: str) -> str:
    """The part of a query that ``metric`` is scored on."""
    return "saliency" if metric.startswith(HIGHLIGHT_METRICS) else "windows"


def scored_parts(highlights: bool) -> Needs:
    """The parts of a query that are scored."""
    return ("windows", "saliency") if highlights else ("windows",)


def training_needs(dataset: DatasetSettings) -> Needs:
    """What a row must have to be trained on, by the setting's saliency rule."""
    return RULES[dataset.saliency].needs


def lacks(query: Query, needs: Needs) -> Needs:
    """Those of ``needs`` that ``query`` does not have."""
    return tuple(part for part in needs if getattr(query, part) is None)


def in_words(needs: Needs, between: str = "and") -> str:
    """Names of the file's fields; saliency and its clips are one label."""
    return f" {between} ".join(FIELDS[part] for part in needs if part != "relevant_clip_ids" or "saliency" not in needs)


def labelled_in(queries: Sequence[Query], needs: Needs) -> bool:
    """Whether any of ``queries`` has all of ``needs``."""
    return any(not lacks(query, needs) for query in queries)


def trainable(queries: Sequence[Query], dataset: DatasetSettings) -> list[Query]:
    """The rows that training takes: those with all labels that the setting's saliency rule needs."""
    needs = training_needs(dataset)
    return [query for query in queries if not lacks(query, needs)]


def requirements(dataset: DatasetSettings) -> Iterator[Requirement]:
    """What the splits must have so that a run of ``dataset`` can be trained and its checkpoints selected."""
    needs = training_needs(dataset)
    other = ", or choose the setting's saliency rule 'window'" if "saliency" in needs else ""
    yield Requirement(
        dataset.train_split,
        needs,
        f"there is nothing to train on; add them, or name another train_split in the setting{other}",
    )
    for name, rule in dataset.checkpoints.items():
        for part in dict.fromkeys(part_of(metric) for metric in rule.metrics) if rule is not None else ():
            metrics = ", ".join(metric for metric in rule.metrics if part_of(metric) == part)
            key = "selection" if name == "best" else f"{name}_selection"
            yield Requirement(
                rule.split,
                (part,),
                f"checkpoint {name!r} cannot be selected by {metrics} on {rule.split!r}; name a split with labels "
                f"under {key} in the setting, or add the labels",
            )


def unmet(
    dataset: DatasetSettings, files: Mapping[str, Path], has: Callable[[str, Needs], bool]
) -> Iterator[tuple[Requirement, str]]:
    """Requirements that the annotations do not meet, with a message.

    Args:
        dataset: the benchmark setting.
        files: split -> annotation file, for the messages; other splits are not looked at.
        has: whether any row of a split has all the parts of a query that are named.
    """
    for requirement in requirements(dataset):
        if requirement.split in files and not has(requirement.split, requirement.needs):
            words = in_words(requirement.needs)
            yield (
                requirement,
                f"{files[requirement.split]}: no row has {words}, so {requirement.consequence}",
            )


def refuse_unlabelled(dataset: DatasetSettings, files: Mapping[str, Path]) -> None:
    """Raise DataError if a split has no label although it is trained or selected on.

    For planning: a file is read up to its first row with labels. Files that are missing or malformed pass; whoever
    reads them names the fault and its place.
    """
    for _, message in unmet(dataset, files, lambda split, needs: _any_row_has(files[split], needs)):
        raise DataError(message)


def _any_row_has(path: Path, needs: Needs) -> bool:
    names, row = [FIELDS[part] for part in needs], None
    try:
        with open(path, encoding="utf-8") as lines:
            for row in map(json.loads, filter(str.strip, lines)):
                if all(row.get(name) is not None for name in names):
                    return True
    except (OSError, ValueError, AttributeError, RecursionError):
        return True
    return row is None


def left_out_of_training(queries: Sequence[Query], dataset: DatasetSettings) -> str:
    """What training says about the rows that it leaves out; empty where it takes all."""
    needs = training_needs(dataset)
    left = [query for query in queries if lacks(query, needs)]
    if not left:
        return ""
    missing = tuple(part for part in needs if any(part in lacks(query, needs) for query in left))
    return _left_out(left, queries, in_words(missing, "or"), "training")


def left_out_of_scores(queries: Sequence[Query], highlights: bool) -> list[str]:
    """What scoring says about queries that count for nothing; empty where all are labelled.

    Args:
        queries: of one split.
        highlights: whether the setting has highlight detection.
    """
    kinds = {"windows": "moment metrics", "saliency": "highlight metrics"}
    remarks = []
    for part in scored_parts(highlights):
        left = [query for query in queries if getattr(query, part) is None]
        if len(left) == len(queries):
            remarks.append(f"no query has {FIELDS[part]}: {kinds[part]} have no value")
        elif left:
            remarks.append(_left_out(left, queries, FIELDS[part], f"all {kinds[part]}"))
    return remarks


def labelled_share(queries: Sequence[Query], part: str) -> float:
    """Percentage of ``queries`` that have ``part``."""
    return 100 * sum(getattr(query, part) is not None for query in queries) / len(queries)


def _left_out(left: Sequence[Query], queries: Sequence[Query], missing: str, of: str) -> str:
    has, are = ("has", "is") if len(left) == 1 else ("have", "are")
    named = ", ".join(str(query.qid) for query in left[:SHOWN])
    named += f" and {len(left) - SHOWN:,} more" if len(left) > SHOWN else ""
    return f"{len(left):,} of {len(queries):,} queries {has} no {missing} and {are} left out of {of} (qid {named})"
