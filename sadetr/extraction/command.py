"""What the command ``extract`` does for one setting."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from sadetr.data.places import check_names
from sadetr.data.preparation import read_queries, video_durations
from sadetr.errors import SettingsError
from sadetr.extraction.extractors import make_exact
from sadetr.extraction.making import Outcome, make_files
from sadetr.extraction.streams import Options, Stream, text_stream, video_stream
from sadetr.settings import DatasetSettings
from sadetr.stream_settings import SENTENCES


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
    known = list(dataset.feature_folders)
    for name in names:
        if name not in known:
            raise SettingsError(f"--stream {name}: {dataset.name} has no such stream; it has {', '.join(known)}")
    options = _of_setting(options, dataset.name)
    folder = options.root / "annotations" / dataset.annotations_in
    queries = read_queries(
        {split: folder / file for split, file in dataset.annotations.items()}, dataset.annotation_rules
    )
    check_names(queries)
    vids = list(video_durations(queries))

    def stream_of(name: str) -> Stream:
        if name == SENTENCES:
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


def _of_setting(options: Options, setting: str) -> Options:
    """Options whose folder of videos is the setting's own below it, where there is one."""
    own = None if options.videos is None else options.videos / setting
    return options if own is None or not own.is_dir() else replace(options, videos=own)


def _summary(name: str, outcome: Outcome) -> str:
    parts = [f"{outcome.made:,} made", f"{outcome.kept:,} there already", f"{len(outcome.failed):,} failed"]
    remarked = f", {outcome.remarked:,} with warnings" if outcome.remarked else ""
    return f"{name}: {', '.join(parts)}{remarked}: {outcome.folder}"
