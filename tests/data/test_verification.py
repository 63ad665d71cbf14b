"""The data check finds every planted fault, names the file and a remedy, and is silent about sound data."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import ScaleSettings, load_scale, resolve_dataset
from sadetr.data import manifest
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.arrays import check_array
from sadetr.data.preparation import prepare
from sadetr.data.sources import AnnotationSource, Archive, Sources, Statistics, load_sources
from sadetr.documents.rendering import RENDERERS, render_html
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, FeatureSettings, VideoStream, WordVectors
from sadetr.verification.checks import check_data
from sadetr.verification.findings import Finding, Report
from sadetr.verification.rendering import print_report, report_document
from sadetr.verification.statistics import agree, measure, shown
from tests.samples import SHARED

Check = Callable[..., Report]
ANNOTATIONS = "annotations/small/val.jsonl"
SLOWFAST, CLIP, TEXT = (f"features/small/{name}_features" for name in ("slowfast", "clip", "clip_text"))


@pytest.fixture(scope="session")
def official() -> ScaleSettings:
    return load_scale("paper")


@pytest.fixture(scope="session")
def sources(dataset: DatasetSettings, shared_root: Path) -> Sources:
    """What would be known if the generated corpus were an official one."""
    known = {}
    for name in dataset.annotations.values():
        path = shared_root / "annotations/small" / name
        content = path.read_bytes()
        known[name] = AnnotationSource(
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            urls=[f"https://example.org/{name}"],
            statistics=Statistics(queries=len(read_annotations(path))),
        )
    provides = {name: name for name in ("slowfast_features", "clip_features", "clip_text_features")}
    return Sources(annotations=known, archives=[Archive(file="small.tar.gz", size="1 MB", provides=provides)])


@pytest.fixture
def check(
    dataset: DatasetSettings, official: ScaleSettings, sources: Sources, data_root: Path
) -> Callable[..., Report]:
    return lambda **options: check_data(dataset, official, data_root, sources, **options)


def errors(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def all_queries(dataset: DatasetSettings, root: Path) -> list[Query]:
    folder = root / "annotations/small"
    return [query for name in dataset.annotations.values() for query in read_annotations(folder / name)]


def whole(root: Path, folder: str = CLIP) -> Path:
    """The feature file of a video of full length in all streams."""
    for file in sorted((root / folder).iterdir()):
        if all(len(np.load(root / name / file.name)["features"]) == 24 for name in (SLOWFAST, CLIP)):
            return file
    raise AssertionError


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    with np.load(path) as archive:
        key = archive.files[0]
        array = archive[key]
    np.savez(path, **{key: change(array)})
    return path


def edit_row(root: Path, line: int, change: Callable[[dict], None]) -> Path:
    path = root / ANNOTATIONS
    lines = path.read_text().splitlines()
    row = json.loads(lines[line - 1])
    change(row)
    lines[line - 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    return path


def with_nan(array: np.ndarray) -> np.ndarray:
    array[3, 1] = np.nan
    return array


def remove(root: Path) -> Path:
    path = whole(root)
    path.unlink()
    return path


def truncate(root: Path) -> Path:
    path = whole(root)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def extract_at_one_second(root: Path) -> Path:
    for path in (root / CLIP).iterdir():
        rewrite(path, lambda array: np.repeat(array, 2, axis=0))
    return root / CLIP


def swap(root: Path) -> Path:
    (root / CLIP).rename(root / "aside")
    (root / SLOWFAST).rename(root / CLIP)
    (root / "aside").rename(root / SLOWFAST)
    return root / CLIP


def change_byte(root: Path) -> Path:
    path = root / ANNOTATIONS
    path.write_bytes(path.read_bytes().replace(b" the ", b" tha ", 1))
    return path


def set_qid(row: dict) -> None:
    row["qid"] = 60


def leave_video(row: dict) -> None:
    row["relevant_windows"][-1][1] = 50


def reverse(row: dict) -> None:
    row["relevant_windows"][0].reverse()


# Name -> what plants it and returns the file to be named, the finding's text, its remedy.
FAULTS = {
    "missing file": (remove, "feature files are missing (1 of", "download --setting small"),
    "wrong width": (lambda root: rewrite(whole(root), lambda a: a[:, :7]), "wrong width", "Unpack or download"),
    "NaN row": (lambda root: rewrite(whole(root), with_nan), "NaN or infinite rows", "Unpack or download"),
    "truncated npz": (truncate, "truncated or corrupt", "Unpack or download"),
    "wrong clip length": (extract_at_one_second, "another clip length: 1 s would fit", "set clip_length"),
    "swapped streams": (swap, "the two folders are swapped", f"Exchange the content of {CLIP} and {SLOWFAST}"),
    "duplicated qid": (lambda root: edit_row(root, 2, set_qid), "qids are used more than once", "its own qid"),
    "window beyond the video": (
        lambda root: edit_row(root, 3, leave_video),
        "rows are malformed",
        "correct the window",
    ),
    "reversed window": (lambda root: edit_row(root, 3, reverse), "rows are malformed", "swap its ends"),
    "changed byte": (change_byte, "not the official one", "Download the file again"),
    "zero-length features": (lambda root: rewrite(whole(root), lambda a: a[:0]), "zero length", "Unpack or download"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_an_error_that_names_file_and_remedy(fault: str, check: Check, data_root: Path) -> None:
    plant, text, remedy = FAULTS[fault]
    file = str(plant(data_root).relative_to(data_root))
    report = check()
    assert not report.passed
    named = [finding for finding in errors(report) if file in [place.file for place in finding.places]]
    (finding,) = [finding for finding in named if text in finding.what]
    assert remedy in finding.remedy
    # Beside it only what follows: an edited annotation file is no longer the official one, both streams are swapped.
    others = [other.what for other in errors(report) if other is not finding]
    assert all("not the official one" in what or "folders are swapped" in what for what in others), others


def test_one_clip_short_is_a_note(check: Check, data_root: Path) -> None:
    path = rewrite(whole(data_root), lambda array: array[:-1])
    report = check()
    assert report.passed
    (note,) = [finding for finding in report.findings if "one clip short" in finding.what]
    assert note.severity == "note"
    assert str(path.relative_to(data_root)) in [place.file for place in note.places]


def test_short_videos_that_are_known_are_recognised(
    dataset: DatasetSettings, official: ScaleSettings, sources: Sources, data_root: Path
) -> None:
    vid = rewrite(whole(data_root), lambda array: array[:-1]).stem
    rows = [
        query
        for name in dataset.annotations.values()
        for query in read_annotations(data_root / "annotations/small" / name)
    ]
    qid = next(query.qid for query in rows if query.vid == vid)
    known = sources.model_copy(update={"short_features": {"train.jsonl": [qid]}})
    (note,) = [f for f in check_data(dataset, official, data_root, known).findings if "one clip short" in f.what]
    assert "1 of them known" in note.what
    assert [place.detail.endswith("(known)") for place in note.places if vid in place.file] == [True]


def test_sound_data_pass_with_every_file_looked_at(check: Check, dataset: DatasetSettings) -> None:
    report = check()
    assert report.passed
    assert not report.counts["warning"]
    assert {entry.agrees for entry in report.statistics if entry.known is not None} == {True}
    assert sum("every number" in line for line in report.checked) == 3


def test_all_faults_are_found_in_one_run(check: Check, data_root: Path) -> None:
    rewrite(whole(data_root), with_nan)
    next((data_root / TEXT).iterdir()).write_bytes(b"PK")
    edit_row(data_root, 2, set_qid)
    edit_row(data_root, 3, reverse)
    edit_row(data_root, 5, leave_video)
    found = " ".join(finding.what for finding in errors(check()))
    for text in ("truncated", "NaN", "used more than once", "malformed", "not the official one"):
        assert text in found


def test_every_malformed_line_is_listed_with_its_number(check: Check, data_root: Path) -> None:
    path = data_root / ANNOTATIONS
    lines = path.read_text().splitlines()
    lines[3], lines[7] = "{", '{"qid": 3}'
    path.write_text("\n".join(lines))
    places = [place for finding in errors(check()) if "malformed" in finding.what for place in finding.places]
    assert sorted(place.row for place in places) == [4, 8]


def test_a_changed_file_shows_both_checksums_and_the_statistics(
    check: Check, sources: Sources, data_root: Path
) -> None:
    path = data_root / ANNOTATIONS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    (finding,) = [finding for finding in errors(check()) if "not the official one" in finding.what]
    text = " ".join(map(str, finding.places))
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert sources.annotations["val.jsonl"].sha256 in text
    assert "queries: 19, known 21" in text


def test_a_missing_folder_is_one_finding_with_its_archive(check: Check, data_root: Path) -> None:
    shutil.rmtree(data_root / TEXT)
    (finding,) = errors(check())
    assert "folder of text features is missing" in finding.what
    assert "small.tar.gz" in finding.source
    assert TEXT in finding.source


def test_missing_annotations_leave_nothing_to_check_features_against(check: Check, data_root: Path) -> None:
    shutil.rmtree(data_root / "annotations")
    report = check()
    assert [finding.source for finding in errors(report)] == [
        f"official copy: https://example.org/{split}.jsonl" for split in ("train", "val", "test")
    ]
    assert any("no annotations" in line for line in report.skipped)


def test_text_features_under_the_other_naming_are_one_finding(check: Check, data_root: Path) -> None:
    for file in (data_root / TEXT).iterdir():
        file.rename(file.with_name(file.name.removeprefix("qid")))
    (finding,) = errors(check())
    assert "prefix to ''" in finding.remedy


def test_unknown_text_features_are_an_error_as_in_preparation(check: Check, data_root: Path) -> None:
    shutil.copy(next((data_root / TEXT).iterdir()), data_root / TEXT / "qid99999.npz")
    (finding,) = errors(check())
    assert [place.file for place in finding.places] == [f"{TEXT}/qid99999.npz"]


def test_unequal_streams_are_found(check: Check, dataset: DatasetSettings, data_root: Path, official, sources) -> None:
    tolerant = dataset.model_copy(update={"length_tolerance": 1, "clip_length": 2.0})
    short = whole(data_root)
    rewrite(short, lambda array: array[:-1])
    rewrite(data_root / SLOWFAST / short.name, lambda array: np.concatenate([array, array[:1]]))
    report = check_data(tolerant, official, data_root, sources)
    assert any("streams of one video differ" in finding.what for finding in errors(report))


def test_quick_says_what_it_skips_and_still_finds_damage(check: Check, data_root: Path) -> None:
    rewrite(whole(data_root), with_nan)
    assert check(quick=True).passed, "NaN cannot be seen in a header"
    assert any("NaN" in line for line in check(quick=True).skipped)
    truncate(data_root)
    swap(data_root)
    found = " ".join(finding.what for finding in errors(check(quick=True)))
    assert "truncated" in found
    assert "swapped" in found


@pytest.mark.parametrize("quick", [False, True])
def test_npy_files_are_checked_like_archives(
    quick: bool, dataset: DatasetSettings, official: ScaleSettings, data_root: Path
) -> None:
    stream = VideoStream(name="clip", directory="npy", width=8, suffix=".npy")
    bare = dataset.model_copy(update={"video_streams": [stream]})
    folder = data_root / "features/small/npy"
    folder.mkdir()
    for file in (data_root / CLIP).iterdir():
        np.save(folder / f"{file.stem}.npy", np.load(file)["features"])
    assert check_data(bare, official, data_root, quick=quick).passed
    cut = sorted(folder.iterdir())[2]
    cut.write_bytes(cut.read_bytes()[:-10])
    (finding,) = errors(check_data(bare, official, data_root, quick=quick))
    assert "truncated" in finding.what
    assert cut.name in finding.places[0].file


@pytest.mark.parametrize("quick", [False, True])
def test_no_byte_of_a_header_can_stop_the_check(quick: bool, tmp_path: Path) -> None:
    for file in (tmp_path / "x.npy", tmp_path / "x.npz"):
        array = np.ones((75, 512), np.float32)
        if file.suffix == ".npz":
            np.savez(file, features=array)
        else:
            np.save(file, array)
        content = file.read_bytes()
        for place in range(200):
            file.write_bytes(content[:place] + bytes([content[place] ^ 9]) + content[place + 1 :])
            # Some flips are harmless; none raises.
            check_array(file, "features", quick)


def test_known_facts_do_not_apply_to_generated_data(
    dataset: DatasetSettings, sources: Sources, data_root: Path
) -> None:
    change_byte(data_root)
    report = check_data(dataset, load_scale("mini"), data_root, sources)
    assert report.passed
    assert any("generated" in line for line in report.skipped)
    assert not any(entry.known for entry in report.statistics)


def word_setting(dataset: DatasetSettings, root: Path, lines: list[str], strip: bool) -> DatasetSettings:
    (root / "features/small/words.txt").write_text("".join(f"{line}\n" for line in lines))
    text = WordVectors(file="words.txt", width=3, strip_punctuation=strip)
    return dataset.model_copy(update={"text_stream": text})


def test_word_vectors_cover_the_queries(dataset: DatasetSettings, official: ScaleSettings, data_root: Path) -> None:
    queries = [query.query for query in all_queries(dataset, data_root)]
    words = {word.strip(".,") for query in queries for word in query.lower().split()}
    lines = [f"{word} 1 2 3" for word in sorted(words)]
    assert check_data(word_setting(dataset, data_root, lines, True), official, data_root).passed
    report = check_data(word_setting(dataset, data_root, lines, False), official, data_root)
    (warning,) = [finding for finding in report.findings if finding.severity == "warning"]
    assert "have no word vector" in warning.what
    assert any("0.00% without punctuation" in line for line in report.checked)


def test_malformed_word_vectors_are_named_by_line(
    dataset: DatasetSettings, official: ScaleSettings, data_root: Path
) -> None:
    setting = word_setting(dataset, data_root, ["a 1 2 3", "b 1 2", "c 1 2 3"], True)
    (finding,) = errors(check_data(setting, official, data_root))
    assert [place.row for place in finding.places] == [2]


def test_word_vectors_are_judged_as_preparation_does(
    dataset: DatasetSettings, official: ScaleSettings, data_root: Path
) -> None:
    queries = all_queries(dataset, data_root)
    words = sorted({word.strip(".,") for query in queries for word in query.query.lower().split()})
    # Blanks at the end of a line are no column; a word that nobody asks for may have any vector.
    lines = [f"{word} 1 2 3 " for word in words] + ["unasked nan nan nan"]
    assert check_data(word_setting(dataset, data_root, lines, True), official, data_root).passed
    lines[1] = f"{words[1]} 1 nan 3"
    (finding,) = errors(check_data(word_setting(dataset, data_root, lines, True), official, data_root))
    assert [place.row for place in finding.places] == [2]


def test_inputs_that_changed_since_preparation_are_named(
    check: Check, dataset: DatasetSettings, data_root: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    prepare(dataset, FeatureSettings(), data_root, store)
    assert any("inputs since preparation" in line for line in check(store=store).checked)
    path = rewrite(whole(data_root), lambda array: array + 1)
    (finding,) = [f for f in check(store=store).findings if "since the feature store" in f.what]
    assert [(place.file, place.detail) for place in finding.places] == [(str(path.relative_to(data_root)), "changed")]


def test_a_manifest_notices_changed_removed_and_added_files(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    entries = manifest.record(tmp_path, "abc")
    assert manifest.changed(entries, tmp_path, "abc") == []
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").unlink()
    expected = [("a", "changed"), ("b", "removed"), ("d", "added")]
    assert manifest.changed(entries, tmp_path, "acd") == expected
    assert manifest.changed(entries, tmp_path, "acd", sizes_only=True) == expected[1:]


def test_a_manifest_survives_being_written(tmp_path: Path) -> None:
    (tmp_path / "ü").write_text("1")
    entries = manifest.record(tmp_path, ["ü"])
    (tmp_path / manifest.FILE).write_text(manifest.as_text(entries))
    assert manifest.read(tmp_path / manifest.FILE) == entries
    (tmp_path / manifest.FILE).write_text("{")
    with pytest.raises(DataError, match="prepare"):
        manifest.read(tmp_path / manifest.FILE)


def test_reports_say_the_same_in_every_form(check: Check, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(truncate(data_root).relative_to(data_root))
    report = check()
    print_report(report)
    for text in (capsys.readouterr().out, render_html(report_document(report)), json.dumps(report.as_json())):
        assert file in text
        assert "truncated or corrupt" in text
        assert "small.tar.gz" in text
    assert all("truncated or corrupt" in RENDERERS[suffix](report_document(report)) for suffix in ("md", "tex"))
    assert json.loads(json.dumps(report.as_json()))["passed"] is False


def test_html_escapes_what_it_shows(check: Check, data_root: Path) -> None:
    edit_row(data_root, 2, lambda row: row.update(duration="<b>"))
    page = render_html(report_document(check()))
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    ("measured", "known", "expected"),
    [
        (149.546, 149.5, True),
        (149.56, 149.5, False),
        ([2.3245, 10.0], [2.32, 10], True),
        ([2.3245, 10.4], [2.32, 10], False),
        ([1, 2], [1, 2, 3], False),
        (7218, 7219, False),
        ({1: 2}, {1: 2, 3: 4}, False),
        ("int", "int", True),
    ],
)
def test_agreement_is_to_the_known_digits(measured, known, expected: bool) -> None:
    assert agree(measured, known) is expected


def test_numbers_are_shown_like_the_known_ones() -> None:
    assert shown(0.16776, 0.168) == "0.168"
    assert shown([1234.5, 2.0], [1234.5, 2.0]) == "1,234.5 / 2"


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta", "charades_sta_vgg", "tacos", "tacos_glove"])
def test_official_annotations_have_the_known_statistics(setting: str, official: ScaleSettings, tmp_path: Path) -> None:
    dataset, known = resolve_dataset(setting, "paper"), load_sources(setting)
    folder = SHARED / "annotations" / dataset.annotations_in
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set SADETR_SHARED to the folder with the official data")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / dataset.annotations_in).symlink_to(folder)
    report = check_data(dataset, official, tmp_path, known)
    assert not [finding for finding in report.findings if "missing" not in finding.what]
    compared = [entry for entry in report.statistics if entry.known is not None]
    assert len(compared) >= 20 * len(dataset.annotations)
    assert all(entry.agrees for entry in compared)


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta", "charades_sta_vgg", "tacos", "tacos_glove"])
def test_everything_that_a_setting_needs_has_a_known_source(setting: str) -> None:
    dataset, known = resolve_dataset(setting, "paper"), load_sources(setting)
    text = dataset.text_stream
    assert set(known.annotations) == set(known.clips) == set(dataset.annotations.values())
    assert all(len(entry.sha256) == 64 and entry.urls for entry in known.annotations.values())
    for place in [
        *(stream.directory for stream in dataset.video_streams),
        getattr(text, "directory", None) or text.file,
    ]:
        assert known.archive_of(place) is not None


def test_statistics_of_a_file_are_those_of_its_rows(shared_root: Path) -> None:
    queries = read_annotations(shared_root / ANNOTATIONS)
    found = measure(queries)
    rows = [json.loads(line) for line in (shared_root / ANNOTATIONS).read_text().splitlines()]
    assert found.queries == len(rows)
    assert found.windows == sum(len(row["relevant_windows"]) for row in rows)
    scores = [score for row in rows for triple in row["saliency_scores"] for score in triple]
    assert found.saliency_values == [scores.count(value) for value in range(5)]


@pytest.mark.parametrize(
    ("clips", "severity"), [(13, "error"), (14, "note"), (15, None), (16, None), (17, None), (18, "error")]
)
def test_a_begun_clip_may_count_or_not(
    clips: int, severity: str | None, dataset: DatasetSettings, official: ScaleSettings, data_root: Path
) -> None:
    vid = whole(data_root).stem
    for name in dataset.annotations.values():
        path = data_root / "annotations/small" / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if row["vid"] == vid:
                row |= {"duration": 30.7, "relevant_windows": [[0, 2]], "relevant_clip_ids": [0]}
                row["saliency_scores"] = row["saliency_scores"][:1]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for folder in (CLIP, SLOWFAST):
        rewrite(data_root / folder / f"{vid}.npz", lambda array: array[:clips])
    found = check_data(dataset, official, data_root).findings
    severities = {finding.severity for finding in found for place in finding.places if vid in place.file}
    assert severities == ({severity} if severity else set())
