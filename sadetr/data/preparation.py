"""Preparation: from annotations and feature files in the official layout to a feature store.

Everything is checked here, once: what reaches the store can be trained on without further tests. The steps are those
of the field's loaders (Moment-DETR, QD-DETR): cut every stream to the first clips, cut all streams to the shortest,
normalise their rows. Between the last two, a setting may have longer videos averaged to a number of positions (VSLNet).
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data import extracted, manifest
from sadetr.data.annotations import Query, read_annotations, tell
from sadetr.data.arrays import DAMAGE
from sadetr.data.characters import characters_of
from sadetr.data.extracted import Extraction
from sadetr.data.inputs import Known, Reading
from sadetr.data.packing import add_query, averaged, create_store, describe_source, normalise_rows, with_progress
from sadetr.data.places import check_names, present, spelled_otherwise
from sadetr.data.words import look_up, read_word_vectors, split_words
from sadetr.disguise import NPY, NPZ, disguise, is_companion
from sadetr.errors import DataError
from sadetr.settings import AnnotationRules, DatasetSettings, FeatureSettings, TokenFiles, VideoStream

SPACING_TOLERANCE = 0.05
"""Share by which duration / clips may differ from the clip length."""

LONG_VIDEO = 40
"""Clips from which on the spacing is tested for itself: two clips more or less are within its tolerance there."""

TextReader = Callable[[Query], NDArray[np.float32]]
"""Query -> token features (T, width)."""


def prepare(
    dataset: DatasetSettings, features: FeatureSettings, data_root: Path, out: Path, fingerprint: str = ""
) -> dict[str, Known]:
    """Pack the features of all annotated videos and queries of ``dataset`` into a feature store at ``out``.

    Args:
        dataset: which splits, streams and lengths.
        features: how rows are stored.
        data_root: holds ``annotations/<name>/`` and ``features/<name>/<stream directory>/``.
        out: the store's folder; an earlier store there is replaced once the new one is complete.
        fingerprint: identifies the code and settings of this preparation; kept in the manifest.

    Returns:
        The files that it was made from, by path relative to ``data_root``.

    Raises:
        DataError: annotations or a feature file are missing, malformed or changed meanwhile. Nothing is written then.
        ResultsError: ``out`` cannot be written.
    """
    folder = data_root / "annotations" / dataset.annotations_in
    annotations = {split: folder / file for split, file in dataset.annotations.items()}
    reading = Reading(data_root)
    reading.of(manifest.annotation_files(dataset))
    queries = read_queries(annotations, dataset.annotation_rules)
    check_names(queries)
    durations = video_durations(queries)
    _note_limit(dataset, durations)
    folder = data_root / "features" / dataset.name
    for stream in dataset.video_streams:
        _check_complete(folder / stream.directory, [f"{vid}{stream.suffix}" for vid in durations])
    records = extraction_records(dataset, folder, durations, queries)
    texts = TEXT_READERS[dataset.text_stream.kind](dataset, folder, queries)
    characters = characters_of(dataset, queries)
    origin = describe_source(dataset, annotations, fingerprint)
    if records:
        origin["extracted"] = {directory: record.made_with for directory, record in records.items()}
    reading.of(manifest.input_files(dataset, durations, [query.qid for query in queries]))
    with create_store(out, dataset, features, origin, characters) as writer:
        for vid, duration in with_progress(list(durations.items()), "videos"):
            writer.add_video(vid, read_video(dataset, folder, vid, duration))
        for query in with_progress(queries, "queries"):
            add_query(writer, dataset, query, texts(query), characters)
        inputs = reading.finish()
        for directory, record in records.items():
            place = f"features/{dataset.name}/{directory}/"
            sums = {name.removeprefix(place): known.sha256 for name, known in inputs.items() if name.startswith(place)}
            extracted.check_unchanged(folder / directory, record, sums)
        writer.attach(manifest.FILE, manifest.as_text({name: known.entry for name, known in inputs.items()}))
    return inputs


def extraction_records(
    dataset: DatasetSettings, folder: Path, vids: Iterable[str], queries: Iterable[Query]
) -> dict[str, Extraction]:
    """Directory of a stream -> the record of its extraction, for the streams that were extracted here.

    Raises:
        DataError: of a stream only some files were.
    """
    names = {stream.directory: [f"{vid}{stream.suffix}" for vid in vids] for stream in dataset.video_streams}
    text = dataset.text_stream
    if isinstance(text, TokenFiles):
        names[text.directory] = [f"{text.prefix}{query.qid}.npz" for query in queries]
    records = {directory: extracted.check_listed(folder / directory, files) for directory, files in names.items()}
    return {directory: record for directory, record in records.items() if record is not None}


def read_video(dataset: DatasetSettings, folder: Path, vid: str, duration: float) -> dict[str, NDArray[np.float32]]:
    """Stream name -> (L, width) of one video: all streams cut to the shortest, averaged, l2-normalised.

    Raises:
        DataError: a file is malformed, or its length fits neither ``duration`` (seconds) nor the other streams.
    """
    files = {stream.name: folder / stream.directory / f"{vid}{stream.suffix}" for stream in dataset.video_streams}
    arrays = {}
    for stream in dataset.video_streams:
        raw = _read_array(files[stream.name], stream, "clip")
        _check_length(dataset, files[stream.name], len(raw), duration)
        arrays[stream.name] = raw[: dataset.max_video_clips]
    shortest = min(arrays, key=lambda name: len(arrays[name]))
    for name, array in arrays.items():
        if len(array) - len(arrays[shortest]) > dataset.length_tolerance:
            raise DataError(
                f"{files[name]} has {len(array)} clips and {files[shortest]} has {len(arrays[shortest])}: the streams "
                f"of one video may differ by {dataset.length_tolerance} (length_tolerance of the setting). Extract the "
                "wrong one again with the same clip length."
            )
    length = len(arrays[shortest])
    return {name: normalise_rows(averaged(array[:length], dataset.max_positions)) for name, array in arrays.items()}


def _check_length(dataset: DatasetSettings, file: Path, clips: int, duration: float) -> None:
    """Whether ``clips`` fit a video of ``duration`` seconds, in spacing and, as far as they are used, in number.

    The spacing tells a wrong clip length (1/8 s for 1/6 s, say), also where the surplus would be cut.
    """
    tolerance, limit = dataset.length_tolerance, dataset.max_video_clips or math.inf
    expected = duration / dataset.clip_length
    # A begun clip may count or not. A hair of slack for rounded clip lengths: 1/6 s is written as 0.166666.
    fewest, most = math.floor(expected + 0.01) - tolerance, math.ceil(expected - 0.01) + tolerance
    fits = fewest <= clips <= most
    found = (
        f"{file}: {clips} clips, but a video of {duration:g} s in clips of {dataset.clip_length:g} s has {expected:g}"
    )
    uneven = abs(expected / clips - 1) > SPACING_TOLERANCE
    if uneven and (not fits or expected >= LONG_VIDEO):
        raise DataError(
            f"{found}. A clip_length of {duration / clips:.4g} s would fit: set that in the setting if all features "
            "were extracted so. Extract this file again, or correct the duration in the annotations, if it is the "
            "only one."
        )
    if not min(fewest, limit - tolerance) <= min(clips, limit) <= most:
        raise DataError(
            f"{found} (the setting's length_tolerance is {tolerance}). Extract this file again, or correct clip_length "
            "in the setting or the duration in the annotations."
        )


def read_text(stream: TokenFiles, file: Path, max_tokens: int | None) -> NDArray[np.float32]:
    """Token features (T, width) of one query: the first ``max_tokens``, l2-normalised.

    Raises:
        DataError: the file is malformed.
    """
    return normalise_rows(_read_array(file, stream, "token")[:max_tokens])


def _token_files(dataset: DatasetSettings, folder: Path, queries: Sequence[Query]) -> TextReader:
    stream, texts = dataset.text_stream, folder / dataset.text_stream.source
    names = [f"{stream.prefix}{query.qid}.npz" for query in queries]
    _check_complete(texts, names)
    _check_no_unknown_text(texts, names)
    return lambda query: read_text(stream, texts / f"{stream.prefix}{query.qid}.npz", dataset.max_text_tokens)


def _word_vectors(dataset: DatasetSettings, folder: Path, queries: Sequence[Query]) -> TextReader:
    stream, file = dataset.text_stream, folder / dataset.text_stream.source
    words = {word for query in queries for word in split_words(query, stream.strip_punctuation)}
    vectors = read_word_vectors(file, words, stream.width)
    print(f"{file.name}: {len(vectors)} of the queries' {len(words)} words known, zeros for the rest", file=sys.stderr)
    return lambda query: look_up(split_words(query, stream.strip_punctuation), vectors, stream.width)


TEXT_READERS: dict[str, Callable[[DatasetSettings, Path, Sequence[Query]], TextReader]] = {
    "files": _token_files,
    "words": _word_vectors,
    "vocabulary": _word_vectors,
}
"""Kind of text stream -> what opens it, given the setting's feature folder and all queries."""


def read_queries(annotations: dict[str, Path], rules: AnnotationRules) -> list[Query]:
    """All queries of the files ``annotations`` (split -> path), in their order.

    Raises:
        DataError: a file is missing or malformed, or two rows share a qid.
    """
    queries: dict[str, tuple[Query, Path]] = {}
    for file in annotations.values():
        for query in read_annotations(file, rules):
            if str(query.qid) in queries:
                other = queries[str(query.qid)][1]
                raise DataError(f"{file}: qid {query.qid} also occurs in {other}. Every query needs its own qid.")
            queries[str(query.qid)] = query, file
    return [query for query, _ in queries.values()]


def video_durations(queries: Iterable[Query]) -> dict[str, float]:
    """vid -> seconds, in the order of first mention.

    Raises:
        DataError: the rows of one video disagree.
    """
    durations: dict[str, float] = {}
    for query in queries:
        if durations.setdefault(query.vid, query.duration) != query.duration:
            raise DataError(
                f"annotations: video {query.vid!r} lasts {durations[query.vid]:g} s in one row and "
                f"{query.duration:g} s in that of qid {query.qid}. Correct the duration."
            )
    return durations


def _note_limit(dataset: DatasetSettings, durations: dict[str, float]) -> None:
    """Say how many videos lose their end by ``max_video_clips``, which counts clips and not seconds."""
    limit = math.inf if dataset.max_video_clips is None else dataset.max_video_clips + dataset.length_tolerance
    cut = [vid for vid, duration in durations.items() if duration / dataset.clip_length > limit]
    if cut:
        tell(
            f"note: {dataset.name}: of {len(cut):,} of {len(durations):,} videos (first: {cut[0]!r}) only the first "
            f"{dataset.max_video_clips * dataset.clip_length:g} s are used; if all of them is meant, raise "
            f"max_video_clips ({dataset.max_video_clips} clips of {dataset.clip_length:g} s) in the setting"
        )


def _check_complete(folder: Path, names: Sequence[str]) -> None:
    """Find missing files by one listing, before anything is packed."""
    listed = _listing(folder, names)
    missing = [name for name in names if name not in listed]
    if missing:
        raise DataError(
            f"{folder / missing[0]}: feature file missing ({len(missing)} missing in this folder). Every annotated "
            "video and query needs one: unpack the feature archive again, or correct data_root."
            f"{spelled_otherwise(missing[0])}"
        )


def _check_no_unknown_text(folder: Path, known: Sequence[str]) -> None:
    strangers = _listing(folder, known) - set(known)
    unknown = sorted(name for name in strangers if name.endswith(".npz") and not is_companion(Path(name).name))
    if unknown:
        raise DataError(
            f"{folder / unknown[0]}: text features of a qid that no annotation has ({len(unknown)} such files). "
            "Annotations and features do not belong together: add the missing annotation file or remove these files."
        )


def _listing(folder: Path, names: Sequence[str]) -> set[str]:
    try:
        return present(folder, names)
    except OSError as error:
        raise DataError(
            f"{folder}: feature folder cannot be read ({error.strerror}). Unpack the feature archive there, or correct "
            "data_root or the stream's directory in the setting."
        ) from error


def _read_array(file: Path, stream: VideoStream | TokenFiles, row_name: str) -> NDArray[np.float32]:
    """The checked array (rows, stream.width) of one feature file as float32."""
    remedy = "Extract or download this file again."
    key = stream.key if file.suffix == ".npz" else None
    what, wanted = ("the array", NPY) if key is None else (repr(key), NPZ)
    try:
        # Opened here because np.load leaves a damaged archive open.
        with open(file, "rb") as content:
            loaded = np.load(content, allow_pickle=False)
            bare = isinstance(loaded, np.ndarray)
            keys = [] if bare else loaded.files
            array = loaded if bare else loaded[key] if key in keys else None
    except DAMAGE as error:
        if found := disguise(file, wanted):
            raise DataError(f"{file}: {found}") from error
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{file}: feature file missing. {remedy}") from error
        raise DataError(
            f"{file}: truncated or corrupt {file.suffix} file ({type(error).__name__}: {error}). {remedy}"
        ) from error
    if (bare != (key is None) or array is None) and (found := disguise(file, wanted)):
        raise DataError(f"{file}: {found}")
    if array is None:
        raise DataError(f"{file}: no key {key!r}; the file has {', '.join(keys) or 'no keys'}. {remedy}")
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(
            f"{file}: {what} is {array.dtype} of shape {array.shape}; expected floating-point numbers of shape "
            f"({row_name}s, {stream.width}). {remedy}"
        )
    if array.shape[1] != stream.width:
        raise DataError(
            f"{file}: {what} is {array.shape[1]} wide, the setting says {stream.width}. Use the features that "
            "the setting names, or correct the stream's width."
        )
    if len(array) == 0:
        raise DataError(f"{file}: {what} has no {row_name}s. {remedy}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(f"{file}: {row_name} {row} (counted from 0) of {what} holds NaN or infinity. {remedy}")
    return array
