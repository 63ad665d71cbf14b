"""Units of annotation files: clip ids against windows, times against durations, windows that leave their video."""

import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, read_annotations, write_annotations
from sadetr.data.clip_labels import clip_count, clip_labels, faults, find_clip_length
from sadetr.data.corpus import generate
from sadetr.data.preparation import prepare
from sadetr.data.simulation.timeline import Video, _described_level
from sadetr.data.sources import ClipStatistics, Sources
from sadetr.errors import DataError, SettingsError
from sadetr.settings import AnnotationRules, CorpusSettings, DatasetSettings, FeatureSettings, WindowOverrun
from sadetr.verification.checks import check_data
from sadetr.verification.statistics import measure_clips
from tests.samples import SHARED

OFFICIAL = AnnotationRules(clip_length=2.0, label_clip_length=2.0)
ONE_SECOND = AnnotationRules(clip_length=1.0, label_clip_length=2.0)
CLAMP = AnnotationRules(window_overrun=WindowOverrun(rule="clamp", tolerance=1.0))


def labelled(qid, windows, unit=2.0, duration=150.0, vid=None):
    """A query whose windows lie on a grid of ``unit`` seconds, and all of whose clips are labelled."""
    windows = np.array(windows, dtype=np.float64)
    ids = np.concatenate([np.arange(round(start / unit), round(end / unit)) for start, end in windows])
    saliency = np.stack([ids % 5, (ids + 1) % 5, (ids + 2) % 5], 1)
    return Query(qid, "a person", vid or f"v{qid}", duration, windows, ids, saliency)


def four(unit=2.0):
    windows = ([[80, 88], [100, 120]], [[20, 44]], [[100, 140]], [[0, 32], [60, 64]])
    return [labelled(qid, each, unit) for qid, each in enumerate(windows)]


def edited(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def without_labels(row):
    del row["relevant_clip_ids"], row["saliency_scores"]


@pytest.fixture
def file(tmp_path):
    write_annotations(tmp_path / "val.jsonl", four())
    return tmp_path / "val.jsonl"


def read(path, rules=OFFICIAL):
    notes = []
    return read_annotations(path, rules, notes.append), notes


def test_labels_hold_for_every_feature_clip_inside_theirs(file):
    queries, notes = read(file, ONE_SECOND)
    assert notes == []
    assert {query.label_clip_length for query in queries} == {2.0}
    ids, scores = clip_labels(queries[1], 1.0)
    assert ids.tolist() == list(range(20, 44))
    np.testing.assert_array_equal(scores, np.repeat(queries[1].saliency, 2, axis=0))


@given(st.integers(1, 12), st.integers(2, 40), st.data())
def test_a_feature_clip_has_the_scores_of_the_label_clip_that_it_lies_in(clips, count, data):
    """This holds for clip lengths that are written with few digits too, up to the end of the video."""
    clip_length = round(2.0 / clips, 6)
    ids = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    saliency = np.random.default_rng(0).integers(0, 5, (len(ids), 3))
    duration = 2.0 * count + data.draw(st.sampled_from([0.0, 0.7, 1.9]))
    found, scores = clip_labels(Query(0, "", "", duration, None, np.array(ids), saliency, 2.0), clip_length)
    assert len(found) in (clips * len(ids), clips * len(ids) - 1)
    assert found.max() < clip_count(duration, clip_length)
    for clip, score in zip(found, scores, strict=True):
        label = int((clip + 0.5) * clip_length // 2.0)
        assert score.tolist() == saliency[ids.index(label)].tolist()


def test_labels_of_the_features_own_clips_are_not_touched(file):
    query = read(file)[0][0]
    ids, scores = clip_labels(query, 2.0)
    assert ids is query.relevant_clip_ids
    assert scores is query.saliency


def test_clip_lengths_that_do_not_divide_are_refused():
    query = four()[0]
    with pytest.raises(DataError, match=r"1\.5 s \(features\) does not divide label_clip_length 2 s .*features of 2 s"):
        clip_labels(Query(*[getattr(query, name) for name in query.__slots__[:7]], 2.0), 1.5)


@pytest.mark.parametrize(
    ("clip_length", "known"), [(1.5, False), (4.0, False), (0.3, False), (1.0, True), (1 / 6, True)]
)
def test_settings_refuse_labels_that_cannot_be_converted(tmp_path, clip_length, known):
    scale = tmp_path / "own.yaml"
    override = {"qvhighlights": {"dataset": {"clip_length": clip_length}}}
    scale.write_text(yaml.dump({"extends": "paper", "label": "own", "data": "official", "settings": override}))
    if known:
        assert resolve_dataset("qvhighlights", str(scale)).label_clip_length == 2.0
        return
    with pytest.raises(SettingsError, match=r"own\.yaml.*clip_length .* does not divide label_clip_length 2 s"):
        resolve_dataset("qvhighlights", str(scale))
    override["qvhighlights"]["dataset"] |= {"saliency": "window", "highlights": False}
    # Another file: configuration files are read once.
    scale = tmp_path / "without.yaml"
    scale.write_text(yaml.dump({"extends": "paper", "label": "own", "data": "official", "settings": override}))
    resolve_dataset("qvhighlights", str(scale))


@pytest.mark.parametrize("unit", [1.0, 4.0])
def test_ids_in_another_unit_than_declared_are_an_error(file, unit):
    with pytest.raises(DataError, match=r"val\.jsonl: line 1: relevant clip .*set label_clip_length: 2 in") as caught:
        read(file, AnnotationRules(clip_length=1.0, label_clip_length=unit))
    assert "fit all rows" in str(caught.value)


def test_an_undeclared_unit_is_found_and_said(file):
    queries, notes = read(file, AnnotationRules(clip_length=1.0))
    assert {query.label_clip_length for query in queries} == {2.0}
    assert len(notes) == 1
    assert "labels are converted; say so by label_clip_length: 2" in notes[0]
    assert read(file, AnnotationRules(clip_length=2.0))[1] == []


def test_the_unit_is_found_where_windows_leave_the_grid():
    rng = np.random.default_rng(0)
    queries = []
    for query in four():
        windows = query.windows + rng.uniform(-0.8, 0.8, query.windows.shape).round(2)
        queries.append(Query(query.qid, "", "", 150.0, windows.clip(0), query.relevant_clip_ids, query.saliency))
    assert faults(queries, 2.0) == []
    assert find_clip_length(queries, 1.0) == 2.0
    assert find_clip_length(queries, 0.5) == 2.0


def test_one_wrong_row_is_named_by_the_unit_of_the_others(file):
    lines = file.read_text().splitlines()
    row = json.loads(lines[2])
    row["relevant_clip_ids"][0] -= 20
    lines[2] = json.dumps(row)
    file.write_text("\n".join(lines))
    for rules in (OFFICIAL, AnnotationRules(clip_length=1.0)):
        message = (
            r"line 3: relevant clip 30, which lasts from 60 to 62 s by clips of 2 s, touches none of relevant_windows"
        )
        with pytest.raises(DataError, match=message):
            read(file, rules)


def test_windows_that_are_labelled_in_part_are_allowed_and_said(file):
    def drop(row):
        del row["relevant_clip_ids"][1], row["saliency_scores"][1]

    edited(file, drop)
    queries, notes = read(file)
    assert len(queries) == 4
    assert len(notes) == 1
    assert "line 1: window [80, 88] holds clip 41" in notes[0]
    assert "and 3 more lines" in notes[0]


@pytest.mark.parametrize("name", ["train_release", "val_release", "test_with_gt"])
def test_official_ids_and_windows_agree_in_every_row(name):
    path = SHARED / "annotations" / "qvhighlights" / f"highlight_{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
    queries, notes = read(path)
    assert notes == []
    assert faults(queries, 2.0) == []
    for other in (1.0, 4.0, 0.166666):
        assert find_clip_length(queries, other) == 2.0
        assert len(faults(queries, other)) > 0.95 * len(queries)


def scaled(factor, durations, windows):
    def change(row):
        without_labels(row)
        row["duration"] *= factor if durations else 1
        row["relevant_windows"] = [
            [end * (factor if windows else 1) for end in pair] for pair in row["relevant_windows"]
        ]

    return change


def fractions(row):
    without_labels(row)
    row["relevant_windows"] = [[end / row["duration"] for end in pair] for pair in row["relevant_windows"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fractions, r"line 1: window \[0\.533333, 0\.586667\] .*fractions of the video; multiply relevant_windows by"),
        (
            scaled(1000, False, True),
            r"line 1: window \[80000, 88000\] leaves the video .*not in frames or millisec",
        ),
        (scaled(30, False, True), r"line 1: window \[2400, 2640\] leaves the video .*not in frames or milliseconds"),
        (scaled(1000, True, False), r"line 1: window \[80, 88\] of a video of 150000 s; .*write duration in seconds"),
        (scaled(1 / 60, True, False), r"line 1: window \[80, 88\] leaves the video of 2\.5 s"),
    ],
)
def test_times_in_another_unit_are_an_error(file, change, message):
    edited(file, change)
    with pytest.raises(DataError, match=message):
        read(file)


def test_ids_show_that_all_times_are_in_another_unit(file):
    def milliseconds(row):
        row["duration"] *= 1000
        row["relevant_windows"] = [[1000 * end for end in pair] for pair in row["relevant_windows"]]

    edited(file, milliseconds)
    with pytest.raises(DataError, match=r"line 1: .*write durations and windows in seconds, not in milliseconds"):
        read(file)


@pytest.mark.parametrize("change", [scaled(30, True, False), scaled(1000, True, True)])
def test_doubtful_durations_are_a_hint(file, change):
    edited(file, change)
    queries, (note,) = read(file)
    assert len(queries) == 4
    assert note.startswith(f"warning: {file}: line 1: ")


def test_few_rows_are_not_refused_but_hinted_at(tmp_path):
    path = tmp_path / "two.jsonl"
    write_annotations(path, four()[:2])
    edited(path, fractions)
    queries, (note,) = read(path)
    assert len(queries) == 2
    assert "fractions of the video" in note


def test_one_early_scene_of_one_video_is_no_evidence(tmp_path):
    path = tmp_path / "scene.jsonl"
    write_annotations(path, [labelled(qid, [[0, 2]], duration=9000.0, vid="film") for qid in range(8)])
    assert len(read(path)[0]) == 8


def overrun(path, by, start=None):
    """The second and the third query end ``by`` seconds after their video."""
    queries = [labelled(qid, [[10, 20]], duration=20.0) for qid in range(4)]
    for query in queries[1:3]:
        query.windows[0] = [10 if start is None else start, 20 + by]
    write_annotations(path, queries)
    edited(path, without_labels)
    return path


def test_a_window_beyond_its_video_is_refused_and_the_key_named(tmp_path):
    path = overrun(tmp_path / "a.jsonl", 0.4)
    with pytest.raises(
        DataError, match=r"a\.jsonl: line 2: window \[10, 20\.4\] leaves the video of 20 s; .*"
    ) as caught:
        read(path)
    assert "window_overrun: {rule: clamp, tolerance: 1.0}" in str(caught.value)


def test_clamped_windows_are_counted_and_the_first_named(tmp_path):
    path = overrun(tmp_path / "a.jsonl", 0.4)
    queries, (note,) = read(path, CLAMP)
    assert [query.windows.tolist() for query in queries] == [[[10, 20]]] * 4
    assert note.startswith(
        f"note: {path}: line 2: the first of 2 windows that end after their video, by 0.4 s at most;"
    )


def test_the_tolerance_bounds_what_is_clamped(tmp_path):
    assert len(read(overrun(tmp_path / "a.jsonl", 1.0), CLAMP)[0]) == 4
    with pytest.raises(DataError, match=r"line 2: .*its 1\.2 s beyond the video are more than window_overrun"):
        read(overrun(tmp_path / "b.jsonl", 1.2), CLAMP)


@pytest.mark.parametrize("start", [20.0, 20.2])
def test_no_window_is_clamped_to_nothing(tmp_path, start):
    with pytest.raises(DataError, match=r"line 2: window .* leaves the video of 20 s; correct the window"):
        read(overrun(tmp_path / "a.jsonl", 0.4, start), CLAMP)


def test_labels_of_clips_beyond_a_rounded_duration_go_with_the_window(tmp_path):
    query = labelled(0, [[10, 20]], duration=19.0)
    write_annotations(tmp_path / "a.jsonl", [query])
    rules = AnnotationRules(label_clip_length=2.0, window_overrun=WindowOverrun(rule="clamp", tolerance=1.0))
    (found,), _ = read(tmp_path / "a.jsonl", rules)
    assert found.windows.tolist() == [[10, 19]]
    assert found.relevant_clip_ids.tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(found.saliency, query.saliency[:4])


@pytest.mark.parametrize("wrong", [{"rule": "clamp"}, {"tolerance": 1.0}, {"rule": "clamp", "tolerance": -1.0}])
def test_a_clamp_states_its_tolerance(wrong):
    with pytest.raises(ValidationError):
        WindowOverrun(**wrong)


def check(dataset, root, sources=None):
    from sadetr.configuration import load_scale

    return check_data(dataset, load_scale("paper"), root, sources)


def test_check_data_reports_contradicting_ids_with_every_line(dataset, data_root):
    report = check(dataset.model_copy(update={"label_clip_length": 1.0}), data_root)
    found = [finding for finding in report.findings if "contradict" in finding.what]
    assert [finding.severity for finding in found] == ["error"] * 3
    assert all("set label_clip_length: 2" in finding.remedy for finding in found)
    assert len(found[0].places) > 50
    assert found[0].places[0].row == 1


def test_check_data_passes_what_is_declared_and_notes_what_is_not(dataset, data_root):
    declared = dataset.model_copy(update={"clip_length": 1.0, "label_clip_length": 2.0})
    whats = [finding.what for finding in check(declared, data_root).findings]
    assert not any("relevant_clip_ids" in what or "labels" in what for what in whats)
    findings = check(declared.model_copy(update={"label_clip_length": None}), data_root).findings
    noted = [finding for finding in findings if finding.what == "labels count other clips than the features"]
    assert [finding.severity for finding in noted] == ["note"] * 3
    findings = check(dataset.model_copy(update={"clip_length": 1.5}), data_root).findings
    assert any(finding.severity == "error" and "cannot be converted" in finding.what for finding in findings)


def test_check_data_compares_clip_statistics_in_their_own_unit_only(dataset, data_root):
    queries = read_annotations(data_root / "annotations/small/val.jsonl")
    known = {"val.jsonl": ClipStatistics(clips=measure_clips(queries, 2.0).clips)}
    report = check(dataset.model_copy(update={"clip_length": 1.0}), data_root, Sources(clips=known, clip_length=2.0))
    assert all(entry.agrees is not False for entry in report.statistics)
    assert any("clips per video of val.jsonl" in line for line in report.skipped)
    report = check(dataset, data_root, Sources(clips=known, clip_length=2.0))
    assert any(entry.name == "clips" and entry.agrees for entry in report.statistics)


def test_check_data_and_prepare_say_what_was_clamped(dataset, data_root, tmp_path, capsys):
    def overrun(row):
        row["relevant_windows"] = [[0, row["duration"] + 0.3]]
        without_labels(row)

    edited(data_root / "annotations/small/val.jsonl", overrun)
    clamping = dataset.model_copy(update={"window_overrun": WindowOverrun(rule="clamp", tolerance=0.5)})
    report = check(clamping, data_root)
    (found,) = [finding for finding in report.findings if "were clamped" in finding.what]
    assert (found.severity, found.places[0].row) == ("note", 1)
    assert report.passed
    prepare(clamping, FeatureSettings(), data_root, tmp_path / "store")
    assert "val.jsonl: line 1: the first of 21 windows that end after their video" in capsys.readouterr().err
    refused = check(dataset, data_root)
    assert not refused.passed
    assert any("window_overrun: {rule: clamp" in finding.remedy for finding in refused.findings)


def test_a_limit_in_clips_that_cuts_videos_is_said(dataset, data_root, tmp_path, capsys):
    """``max_video_clips`` counts clips of the features: with half the clip length it holds half the video."""
    halved = dataset.model_copy(update={"max_video_clips": 12})
    (found,) = [finding for finding in check(halved, data_root).findings if "max_video_clips" in finding.what]
    assert found.severity == "warning"
    assert "first 24 s are used" in found.what
    prepare(halved, FeatureSettings(), data_root, tmp_path / "store")
    assert "max_video_clips (12 clips of 2 s)" in capsys.readouterr().err
    assert not any("max_video_clips" in finding.what for finding in check(dataset, data_root).findings)


@pytest.mark.parametrize("on_grid", [True, False])
def test_a_generated_corpus_labels_the_clips_that_its_setting_counts(dataset: DatasetSettings, tmp_path, on_grid):
    fine = dataset.model_copy(update={"clip_length": 1.0, "label_clip_length": 2.0})
    corpus = CorpusSettings(train_queries=24, val_queries=8, test_queries=8, clips=24, on_grid=on_grid)
    generate(fine, corpus, tmp_path)
    for name in fine.annotations.values():
        queries, notes = read(tmp_path / "annotations/small" / name, fine.annotation_rules)
        assert notes == []
        assert {query.label_clip_length for query in queries} == {2.0}


def test_simulated_features_show_labels_at_the_time_that_they_mean():
    query = labelled(0, [[10, 20]], duration=30.0)
    levels = {}
    for clip_length in (1.0, 2.0):
        own = Query(*[getattr(query, name) for name in query.__slots__[:7]], 2.0)
        video = Video("v", 30.0, clip_count(30.0, clip_length), clip_length, [own])
        levels[clip_length] = _described_level(own, video, 0.6)[round(10 / clip_length) : round(20 / clip_length)]
    np.testing.assert_array_equal(levels[1.0], np.repeat(levels[2.0], 2))
