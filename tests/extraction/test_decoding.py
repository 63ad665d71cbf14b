"""Which frames of a video are taken, how they are cut out, and what is no video."""

import contextlib
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sadetr.errors import DataError, SettingsError
from sadetr.extraction.choices import Sampling
from sadetr.extraction.decoding import half_up, pictures, probe, scaled_size
from sadetr.extraction.extractors import ClipExtractor, SlowFastExtractor, extract_video
from sadetr.extraction.sampling import slow_positions, slowfast_clips, slowfast_indices
from tests.extraction import networks
from tests.extraction.videos import RATES, number_in, write_covered_sound, write_sound, write_video

CPU = torch.device("cpu")


class Reader(nn.Module):
    """In place of a network: the numbers that its pictures carry, one channel per picture."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, values: Tensor) -> Tensor:
        seen = values if values.ndim == 5 else values.unsqueeze(2)
        numbers = [[number_in(picture.permute(1, 2, 0).numpy()) for picture in clip.transpose(0, 1)] for clip in seen]
        return torch.tensor(numbers, dtype=torch.float32)


def clip_numbers(path: Path, clip_length: float) -> list[int]:
    found = extract_video(path, {"clip": ClipExtractor(Reader(1), clip_length, CPU)})
    return found.streams["clip"][:, 0].astype(int).tolist()


def slowfast_numbers(path: Path, clip_length: float, sampling: Sampling = Sampling.hero) -> list[list[int]]:
    found = extract_video(path, {"slowfast": SlowFastExtractor(Reader(32), clip_length, CPU, sampling)})
    return found.streams["slowfast"].astype(int).tolist()


def shown(rate: Fraction, times: list[Fraction], end: Fraction) -> list[int]:
    """The rule: a frame at t has the slot floor(rt + ½), picture n is the last frame with a slot of at most n."""
    slots = [half_up(rate * time) for time in times]
    return [max(k for k, slot in enumerate(slots) if slot <= n) for n in range(half_up(rate * end))]


def evenly(frames: int, rate: Fraction) -> list[Fraction]:
    return [number / rate for number in range(frames)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Path of a numbered video of so many frames, written once."""
    folder = tmp_path_factory.mktemp("videos")

    def find(frames: int, rate: str, **options) -> Path:
        path = folder / f"{frames}_{rate}{options.pop('suffix', '.mp4')}"
        return path if path.exists() else write_video(path, frames, RATES[rate], **options)

    return find


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("clip_length", [2, 1])
def test_clip_sees_one_frame_just_before_the_middle(videos, rate, clip_length):
    exact, frames = RATES[rate], 331
    found = clip_numbers(videos(frames, rate), clip_length)
    assert found == shown(Fraction(1, clip_length), evenly(frames, exact), frames / exact)
    # The last frame before the middle of the clip.
    middles = [(place + Fraction(1, 2)) * clip_length for place in range(len(found))]
    assert found == [max(k for k in range(frames) if k / exact < middle) for middle in middles]


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264")])
def test_frames_are_the_same_in_other_containers_and_with_b_frames(tmp_path, suffix, codec):
    # 29.4, the rate of TACoS' recordings.
    rate, frames = Fraction(147, 5), 331
    path = write_video(tmp_path / f"a{suffix}", frames, rate, codec=codec)
    times = evenly(frames, rate)
    if suffix == ".mkv":
        times = [Fraction(half_up(1000 * time), 1000) for time in times]
    assert clip_numbers(path, 2) == shown(Fraction(1, 2), times, frames / rate)
    assert slowfast_numbers(path, 2)[0] == [
        shown(Fraction(30), times, frames / rate)[k] for k in slowfast_indices(rate, 2)
    ]


@pytest.mark.parametrize(
    ("rate", "clip_length", "first"),
    [("30", 2, [29, 89, 149]), ("30", 1, [14, 44]), ("25", 2, [24, 74]), ("25", 1, [12, 37, 62])],
)
def test_clip_frames_as_measured_with_ffmpeg(videos, rate, clip_length, first):
    assert clip_numbers(videos(331, rate), clip_length)[: len(first)] == first


@pytest.mark.parametrize(("frames", "rows"), [(74, 1), (75, 2), (124, 2), (125, 3)])
def test_half_a_clip_counts_for_clip_and_any_part_for_slowfast(videos, frames, rows):
    video = videos(frames, "25")
    assert len(clip_numbers(video, 2)) == rows
    assert len(slowfast_numbers(video, 2)) == -(-frames // 50)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [2, 1])
def test_slowfast_sees_the_frames_of_its_quirk(videos, rate, seconds):
    exact, frames = RATES[rate], 151
    at_thirty = shown(Fraction(30), evenly(frames, exact), frames / exact)
    # The last picture fills its second, the last second its clip.
    at_thirty += [at_thirty[-1]] * (-len(at_thirty) % 30)
    while len(at_thirty) % (30 * seconds):
        at_thirty += at_thirty[-30:]
    span = 64 * (exact.numerator // exact.denominator) / 30 - 1
    indices = [int(min(np.float32(place * span / 31), 30 * seconds - 1)) for place in range(32)]
    clips = [at_thirty[start : start + 30 * seconds] for start in range(0, len(at_thirty), 30 * seconds)]
    most = -(-frames / exact // seconds)
    assert (
        slowfast_numbers(videos(frames, rate), seconds) == [[clip[k] for k in indices] for clip in clips][: int(most)]
    )


QUIRK = {
    (23, 2): (48, 32, 1),
    (24, 2): (50, 32, 1),
    (25, 2): (52, 32, 1),
    (23, 1): (29, 20, 13),
    (24, 1): (29, 19, 14),
    (25, 1): (29, 19, 14),
    (29, 2): (59, 32, 1),
    (29, 1): (29, 16, 17),
    (30, 2): (59, 31, 2),
    (30, 1): (29, 16, 17),
    (60, 2): (59, 16, 17),
    (60, 1): (29, 9, 24),
}
"""Frame rate and seconds -> last picture of a clip, distinct ones, how often the last is seen: measured with HERO's."""


@pytest.mark.parametrize("case", QUIRK)
def test_indices_of_hero(case):
    rate, seconds = case
    found = slowfast_indices(Fraction(rate), seconds)
    assert (found[-1], len(set(found)), found.count(found[-1])) == QUIRK[case]
    assert found[0] == 0
    assert found == sorted(found)
    # Rates count as their whole part.
    assert slowfast_indices(Fraction(rate) + Fraction(99, 100), seconds) == found


def test_uniform_indices_cover_the_clip():
    for rate in (24, 60):
        found = slowfast_indices(Fraction(rate), 2, Sampling.uniform)
        assert (found[0], found[-1], len(set(found))) == (0, 59, 32)


def test_the_slow_pathway_is_every_fourth():
    assert slow_positions(4) == [0, 4, 8, 13, 17, 22, 26, 31]


@pytest.mark.parametrize(("count", "last"), [(1, [0] * 60), (31, [*range(31), *[30] * 29]), (60, [*range(60)])])
def test_clips_are_filled(count, last):
    clips = list(slowfast_clips([np.full((1, 1, 3), number, np.uint8) for number in range(count)], 2))
    found = [int(picture[0, 0, 0]) for picture in clips[-1]]
    # One second is repeated as a whole.
    assert found == (last if count > 30 else [0] * 60)
    assert len(clips) == 1


def test_a_second_is_repeated_and_not_its_last_picture():
    clips = list(slowfast_clips([np.full((1, 1, 3), number, np.uint8) for number in range(90)], 2))
    assert [int(picture[0, 0, 0]) for picture in clips[1]] == [*range(60, 90)] * 2


def test_slowfast_needs_whole_seconds():
    with pytest.raises(SettingsError, match=r"clips of 1\.5 s"):
        SlowFastExtractor(Reader(32), 1.5, CPU)


@pytest.mark.parametrize(
    "size", [(97, 65), (65, 97), (64, 64), (301, 64), (64, 301), (224, 224), (641, 360), (34, 240)]
)
def test_pictures_of_any_size_are_the_middle_square(tmp_path, size):
    path = write_video(tmp_path / "a.mkv", 12, size=size, codec="ffv1")
    found = list(pictures(probe(path), Fraction(30)))
    assert [number_in(picture) for picture in found] == list(range(12))
    assert {picture.shape for picture in found} == {(224, 224, 3)}
    assert found[0].dtype == np.uint8


def test_scaling_truncates_the_longer_side():
    assert scaled_size(641, 360) == (398, 224)
    assert scaled_size(360, 641) == (224, 398)
    assert scaled_size(320, 240) == (298, 224)


def write_still(path: Path, picture: np.ndarray) -> Path:
    """A video that shows one picture, (height, width) of grey levels, without loss."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    height, width = picture.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(3):
            grey = np.repeat(picture.astype(np.uint8)[:, :, None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format="bgr0")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_the_crop_begins_at_the_truncated_half(tmp_path):
    # 299 columns stay as they are, each a little brighter than the one before.
    ramp = np.broadcast_to(np.arange(299) * 255 // 299, (224, 299))
    picture = next(pictures(probe(write_still(tmp_path / "a.mkv", ramp)), Fraction(30)))
    assert np.array_equal(picture[:, :, 0], ramp[:, 37 : 37 + 224])


def test_scaling_is_bilinear(tmp_path):
    # Bicubic scaling would overshoot on both sides of an edge.
    edge = np.where(np.arange(112) < 56, 64, 192) * np.ones((112, 1))
    picture = next(pictures(probe(write_still(tmp_path / "a.mkv", edge)), Fraction(30)))
    assert (picture.min(), picture.max()) == (64, 192)
    between = np.unique(picture[0, :, 0])
    assert len(between) == 4
    np.testing.assert_allclose(between[1:3], [64 + 128 / 4, 64 + 128 * 3 / 4], atol=1)


def rotated(path: Path) -> Path:
    """Write a quarter turn into the track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def test_rotation_is_ignored_with_a_warning(tmp_path, videos):
    path = rotated(Path(shutil.copy(videos(331, "30"), tmp_path / "a.mp4")))
    found = extract_video(path, {"clip": ClipExtractor(Reader(1), 2, CPU)})
    assert found.streams["clip"][:, 0].tolist()[:3] == [29, 89, 149]
    (warning,) = found.video.warnings
    assert "rotation" in warning


def test_variable_rates_follow_times(tmp_path):
    times = [0.0, 0.1, 0.2, 0.9, 1.7, 1.8, 2.4, 3.1, 3.2, 3.3, 4.8, 5.5, 5.9]
    path = write_video(tmp_path / "a.mkv", 0, times=times, rate=Fraction(10))
    exact = [Fraction(round(1000 * time), 1000) for time in times]
    video = probe(path)
    found = [number_in(picture) for picture in pictures(video, Fraction(30))]
    assert found == shown(Fraction(30), exact, Fraction(video.duration).limit_denominator(1000))
    assert clip_numbers(path, 2) == [3, 6, 10]


def test_times_count_from_the_containers_start(tmp_path):
    rate = Fraction(30)
    late = write_video(tmp_path / "a.mkv", 0, times=[7 + float(time) for time in evenly(130, rate)])
    assert clip_numbers(late, 2) == [29, 89]
    assert probe(late).warnings == []


def test_a_video_that_starts_late_is_remarked(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    sound, picture = write_sound(tmp_path / "s.mka", 5), write_video(tmp_path / "v.mkv", 130)
    path = tmp_path / "a.mkv"
    with av.open(str(sound)) as one, av.open(str(picture)) as two, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(each.streams[0]) for each in (one, two)]
        packets = [[each for each in source.demux() if each.dts is not None] for source in (one, two)]
        for packet in packets[1]:
            packet.pts += 1500
            packet.dts += 1500
        for stream, group in zip(streams, packets, strict=True):
            for packet in group:
                packet.stream = stream
        for packet in sorted([*packets[0], *packets[1]], key=lambda each: each.dts * each.time_base):
            out.mux(packet)
    found = extract_video(path, {"clip": ClipExtractor(Reader(1), 2, CPU)})
    (warning,) = found.video.warnings
    assert "start 1.5" in warning


def test_a_single_frame_is_a_clip_of_slowfast(tmp_path):
    path = write_video(tmp_path / "a.mp4", 1)
    assert slowfast_numbers(path, 2) == [[0] * 32]
    with pytest.raises(DataError, match=r"a\.mp4: lasts 0\.03 s, too short"):
        clip_numbers(path, 2)


@pytest.mark.parametrize(
    ("frames", "shown"),
    [(45, [7, 22, 37]), (59, [7, 22, 37, 52]), (60, [14, 44]), (62, [14, 44]), (63, [29])],
)
def test_very_short_videos_have_more_pictures(videos, frames, shown):
    # HERO's guard below one clip and a tenth of a second.
    assert clip_numbers(videos(frames, "30"), 2) == shown


def cut_to(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def header_alone(path: Path, codec: str) -> Path:
    """What an MP4 file says in front of its pictures."""
    content = write_video(path, 200, codec=codec, movflags="faststart").read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])
    return path


BROKEN = {
    "a text": (lambda path: path.write_text("no video at all\n"), "is a text that begins with 'no video at all'"),
    "a page": (lambda path: path.write_text("<!doctype html><title>Quota</title>"), "HTML page"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "noise": (lambda path: path.write_bytes(bytes(range(1, 256)) * 40), "cannot be opened as a video"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "missing": (lambda path: None, "No such file"),
    "without its index": (lambda path: cut_to(write_video(path, 200), 0.5), "cannot be opened as a video"),
    "cut off": (
        lambda path: cut_to(write_video(path, 200, movflags="faststart"), 0.5),
        r"ends after .* of the 6\.67 s that it announces",
    ),
    "sound alone": (write_sound, r"holds no video stream \(audio\)"),
    "sound with a cover": (write_covered_sound, r"holds no video stream \(audio\)"),
    "a header alone": (lambda path: header_alone(path, "mpeg4"), "says no size or form of pictures"),
    "another header": (lambda path: header_alone(path, "libx264"), "says no size or form of pictures"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("numbers", [clip_numbers, slowfast_numbers])
def test_what_is_no_whole_video_is_one_error(tmp_path, kind, numbers):
    pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    make, message = BROKEN[kind]
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        numbers(path, 2)
    assert str(path) in str(caught.value)


def test_a_cut_matroska_file_is_refused(tmp_path):
    path = cut_to(write_video(tmp_path / "a.mkv", 200), 0.5)
    with pytest.raises(DataError, match=r"ends after .* that it announces|damaged"):
        clip_numbers(path, 2)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("numbers", [clip_numbers, slowfast_numbers])
def test_a_cut_avi_is_refused(tmp_path, share, numbers):
    path = cut_to(write_video(tmp_path / "a.avi", 200), share)
    with pytest.raises(DataError, match=r"ends after .* of the 6\.67 s that it announces: cut off"):
        numbers(path, 2)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mov", ".mkv"])
def test_what_is_announced_is_what_is_there(videos, rate, suffix):
    video = probe(videos(151, rate, suffix=suffix))
    assert len(list(pictures(video, RATES[rate]))) == 151
    assert video.announced == pytest.approx(video.duration, abs=0.05)


def test_a_stray_time_is_refused_before_hours_are_filled(tmp_path):
    path = write_video(tmp_path / "a.mkv", 0, times=[0, 0.1, 0.2, 1e6], codec="ffv1")
    content = path.read_bytes()
    # As if the container announced nothing, as when its end was never written.
    path.write_bytes(content.replace(b"DURATION", b"DURATIOM"))
    with pytest.raises(DataError, match=r"a frame has the time 1,000,000 s, long after all others"):
        clip_numbers(path, 2)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mpeg4"), (".mkv", "libx264"), (".avi", "mpeg4")])
def test_damaged_bytes_are_features_or_one_error(tmp_path, suffix, codec):
    path = tmp_path / f"a{suffix}"
    whole = write_video(path, 20, codec=codec).read_bytes()
    draw = np.random.default_rng(5)
    for _ in range(12):
        content = np.frombuffer(whole, np.uint8).copy()
        places = draw.integers(0, [len(content), 600], size=(8, 2)).ravel()
        content[places] = draw.integers(0, 256, len(places))
        path.write_bytes(content.tobytes()[: draw.integers(len(content) // 2, len(content) + 1)])
        with contextlib.suppress(DataError):
            assert all(picture.shape == (224, 224, 3) for picture in pictures(probe(path), Fraction(30)))


def test_features_of_the_networks_in_half_precision(videos):
    tower = networks.image_tower()
    extractors = {"clip": ClipExtractor(tower, 2, CPU), "slowfast": SlowFastExtractor(networks.slowfast(), 2, CPU)}
    video = videos(151, "30")
    found = extract_video(video, extractors).streams
    assert {name: (rows.shape, rows.dtype) for name, rows in found.items()} == {
        "clip": ((3, 32), np.float16),
        "slowfast": ((3, 288), np.float16),
    }
    frames = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures(probe(video), Fraction(1, 2))]
    assert np.array_equal(found["clip"], tower(torch.stack(frames)).numpy().astype(np.float16))
    assert (found["slowfast"] >= 0).all()


def test_addresses_are_no_files(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    with pytest.raises(DataError, match="No such file"):
        probe(Path("http://127.0.0.1:9/a.mp4"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#\x01\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\n#\x01\nfile part.ts\n"),
    ],
)
def test_a_list_of_other_files_is_no_video(tmp_path, name, text):
    # The byte lets it pass for something else than text, which is refused before.
    write_video(tmp_path / "part.ts", 10, codec="mpeg2video")
    assert probe(tmp_path / "part.ts").width == 96
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"list\..*: cannot be opened as a video"):
        probe(tmp_path / name)
