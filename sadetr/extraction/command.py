"""What the command ``extract`` does for one setting."""

import sys
from collections.abc import Sequence

from sadetr.data.places import check_names
from sadetr.data.preparation import read_queries, video_durations
from sadetr.errors import SettingsError
from sadetr.extraction.extractors import make_exact
from sadetr.extraction.making import Outcome, make_files
from sadetr.extraction.streams import TEXT, Options, Stream, text_stream, video_stream
from sadetr.settings import DatasetSettings, TokenFiles


def stream_names(dataset: DatasetSettings) -> list[str]:
    """Streams of a setting that are files of their own: word vectors are no such stream."""
    text = [TEXT] if isinstance(dataset.text_stream, TokenFiles) else []
    return [stream.name for stream in dataset.video_streams] + text


def extract(dataset: DatasetSettings, names: Sequence[str], options: Options, workers: int) -> list[Outcome]:
    """Make streams of a setting, for all videos and queries that its annotations name.

    Args:
        dataset: the benchmark setting.
        names: of its streams; none: all of them.
        options: what to make them from and with.
        workers: videos that are decoded at the same time.

    Raises:
        SettingsError: a name is unknown, or a stream cannot be made as the setting has it.
        DataError: annotations, weights or the folder of videos are at fault. Single videos are not an error: they are
            in the outcome.
        ResultsError: the feature folder cannot be written.
    """
    known = stream_names(dataset)
    for name in names:
        if name not in known:
            raise SettingsError(f"--stream {name}: {dataset.name} has no such stream; it has {', '.join(known)}")
    folder = options.root / "annotations" / dataset.annotations_in
    queries = read_queries(
        {split: folder / file for split, file in dataset.annotations.items()}, dataset.annotation_rules
    )
    check_names(queries)
    vids = list(video_durations(queries))

    def stream_of(name: str) -> Stream:
        if name == TEXT:
            return text_stream(dataset.text_stream, queries, options)
        (stream,) = (stream for stream in dataset.video_streams if stream.name == name)
        return video_stream(dataset, stream, vids, options)

    make_exact()
    outcomes = []
    for name in names or known:
        stream = stream_of(name)
        place = options.root / "features" / dataset.name / stream.directory
        outcomes.append(make_files(place, stream.made_with, stream.items, name, workers))
        print(_summary(name, outcomes[-1]), file=sys.stderr, flush=True)
    return outcomes


def _summary(name: str, outcome: Outcome) -> str:
    parts = [f"{outcome.made:,} made", f"{outcome.kept:,} there already", f"{len(outcome.failed):,} failed"]
    remarked = f", {outcome.remarked:,} with warnings" if outcome.remarked else ""
    return f"{name}: {', '.join(parts)}{remarked}: {outcome.folder}"
