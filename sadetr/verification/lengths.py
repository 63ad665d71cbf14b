"""Checks of feature lengths: against the videos' durations, and of the streams among each other."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import median

from sadetr.data.sources import Sources
from sadetr.settings import DatasetSettings, VideoStream
from sadetr.verification.annotations import Annotations
from sadetr.verification.findings import Place, Report

CLIP_LENGTH_TOLERANCE = 0.05
"""Share by which the median of duration ÷ clips may differ from the setting's clip length: far less than from 1/8 s
to 1/6 s (D60)."""

ROUNDING = 0.01
"""Clips of slack for clip lengths that are rounded in the setting (0.166666 s)."""


def check_lengths(
    report: Report,
    dataset: DatasetSettings,
    annotations: Annotations,
    sources: Sources | None,
    clips: dict[str, dict[str, int]],
) -> None:
    """Check ``clips``, stream -> vid -> number of clips."""
    streams = [stream for stream in dataset.video_streams if clips[stream.name]]
    fitting = [stream for stream in streams if _check_clip_length(report, dataset, annotations, clips, stream)]
    known = _known_short(annotations, sources)
    short: dict[Place, bool] = {}
    for stream in fitting:
        short |= _check_durations(report, dataset, annotations, known, stream, clips[stream.name])
    if short:
        what = f"features are one clip short of the duration ({len(short):,} files"
        what += f", {sum(short.values()):,} of them known from the official features)" if known else ")"
        report.add("note", what, "Nothing to do: the missing clip is left out.", short)
    _check_limit(report, dataset, clips)
    _check_streams(report, dataset, fitting, clips)


def _check_limit(report: Report, dataset: DatasetSettings, clips: dict[str, dict[str, int]]) -> None:
    """Say which videos lose their end by ``max_video_clips``, which counts clips and not seconds."""
    limit = dataset.max_video_clips
    longest = {vid: max(found.get(vid, 0) for found in clips.values()) for found in clips.values() for vid in found}
    most = 0 if limit is None else limit + dataset.length_tolerance
    cut = [vid for vid, length in longest.items() if length > most] if limit is not None else []
    if cut:
        what = f"{len(cut):,} of {len(longest):,} videos are longer than max_video_clips: the features of their first "
        what += f"{limit * dataset.clip_length:g} s are used, {limit:,} clips of {dataset.clip_length:g} s"
        remedy = "If all of them is meant, raise max_video_clips in the setting; it counts clips of the features."
        places = [Place(f"features/{dataset.name}", None, f"video {vid!r}: {longest[vid]:,} clips") for vid in cut]
        report.add("warning", what, remedy, places)


def _check_clip_length(
    report: Report,
    dataset: DatasetSettings,
    annotations: Annotations,
    clips: dict[str, dict[str, int]],
    stream: VideoStream,
) -> bool:
    """Whether the folder as a whole has the setting's clip length; one finding if not, instead of one per file."""
    durations, found = annotations.durations, clips[stream.name]
    fitting = median(durations[vid] / length for vid, length in found.items())
    if abs(fitting / dataset.clip_length - 1) <= CLIP_LENGTH_TOLERANCE:
        return True
    what = f"stream {stream.name!r} was extracted at another clip length: {fitting:.4g} s would fit its"
    what += f" {len(found):,} files, the setting says {dataset.clip_length:g} s"
    remedy = f"Use features of {dataset.clip_length:g} s per clip; if these are meant, set clip_length in the setting."
    report.add("error", what, remedy, [_folder(dataset, stream)])
    return False


def _check_durations(
    report: Report,
    dataset: DatasetSettings,
    annotations: Annotations,
    known: set[str],
    stream: VideoStream,
    clips: dict[str, int],
) -> dict[Place, bool]:
    """Report files that fit no duration; returns those that are one clip short, and whether that was ``known``."""
    limit, tolerance = dataset.max_video_clips or math.inf, dataset.length_tolerance
    wrong, long, short = [], [], {}
    for vid, length in clips.items():
        expected = annotations.durations[vid] / dataset.clip_length
        # A begun clip may count or not.
        fewest, most = math.floor(expected + ROUNDING), math.ceil(expected - ROUNDING)
        detail = f"{length} clips, the video of {annotations.durations[vid]:g} s has {expected:.4g}"
        place = Place(f"{_folder(dataset, stream)}/{vid}{stream.suffix}", None, detail)
        surplus = length > most + tolerance
        # A surplus beyond the limit would be cut off, but tells of another clip length if it is large.
        dense = surplus and length > expected * (1 + CLIP_LENGTH_TOLERANCE)
        if dense or not min(fewest, limit) - tolerance <= min(length, limit) <= most + tolerance:
            wrong.append(place)
        elif surplus:
            long.append(place)
        elif length < min(fewest, limit):
            short[replace(place, detail=f"{detail} (known)") if vid in known else place] = vid in known
    if wrong:
        what = f"stream {stream.name!r}: feature files do not fit the video's duration"
        report.add("error", what, "Extract these files again, or correct the duration in the annotations.", wrong)
    if long:
        what = f"stream {stream.name!r}: feature files are longer than the video; the first {limit} clips are used"
        report.add("warning", what, "Check the duration in the annotations.", long)
    return short


def _known_short(annotations: Annotations, sources: Sources | None) -> set[str]:
    """Videos whose official features are known to be one clip short."""
    if sources is None:
        return set()
    qids = {str(qid) for listed in sources.short_features.values() for qid in listed}
    return {query.vid for query in annotations.queries if str(query.qid) in qids}


def _check_streams(
    report: Report, dataset: DatasetSettings, streams: list[VideoStream], clips: dict[str, dict[str, int]]
) -> None:
    unequal = []
    for vid in dict.fromkeys(vid for stream in streams for vid in clips[stream.name]):
        lengths = {stream.name: clips[stream.name][vid] for stream in streams if vid in clips[stream.name]}
        if max(lengths.values()) - min(lengths.values()) > dataset.length_tolerance:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            unequal.append(Place(f"features/{dataset.name}", None, f"video {vid!r}: {shown} clips"))
    if unequal:
        what = f"streams of one video differ by more than {dataset.length_tolerance} clip"
        report.add("error", what, "Extract the wrong one again with the same clip length.", unequal)


def _folder(dataset: DatasetSettings, stream: VideoStream) -> str:
    return str(Path("features") / dataset.name / stream.directory)
