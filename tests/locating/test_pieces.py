"""Long videos: pieces cover them, and merging follows its rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.configuration import resolve_dataset
from sadetr.locating.pieces import Found, Piece, cut, longest_piece, merged_saliency, merged_windows


@given(clips=st.integers(1, 400), most=st.integers(1, 80), length=st.sampled_from([1.0, 2.0, 0.5]))
def test_pieces_cover_the_video_and_overlap_by_half(clips, most, length):
    duration = (clips - 0.3) * length
    pieces = cut(clips, most, length, duration)
    held = np.concatenate([np.arange(clips)[piece.rows] for piece in pieces])
    assert set(held) == set(range(clips))
    assert {piece.clips for piece in pieces} == {min(clips, most)}
    for piece, following in itertools.pairwise(pieces):
        assert piece.first < following.first
        assert piece.first + piece.clips - following.first >= most // 2
    for piece in pieces:
        assert piece.start == piece.first * length
        end = duration if piece.first + piece.clips == clips else (piece.first + piece.clips) * length
        assert piece.start + piece.duration == pytest.approx(end)


def test_a_video_that_fits_is_one_piece():
    assert cut(75, 75, 2.0, 149.2) == [Piece(0, 75, 0.0, 149.2)]
    assert cut(5000, None, 2.0, 9999.0) == [Piece(0, 5000, 0.0, 9999.0)]
    assert [piece.first for piece in cut(76, 75, 2.0, 152.0)] == [0, 1]


@pytest.mark.parametrize(("setting", "clips"), [("qvhighlights", 75), ("charades_sta", 150), ("tacos", None)])
def test_the_longest_piece_is_the_settings_longest_video(setting, clips):
    assert longest_piece(resolve_dataset(setting, "paper")) == clips


def found(first: int, windows: list[list[float]], saliency: list[float], clips: int = 4) -> Found:
    return Found(Piece(first, clips, 2.0 * first, 2.0 * clips), np.array(windows).reshape(-1, 3), np.array(saliency))


def test_windows_are_shifted_and_the_worse_duplicate_goes():
    first = found(0, [[4, 8, 0.6], [4, 7, 0.5]], [0, 0, 0, 0])
    second = found(2, [[0, 4, 0.9], [6, 8, 0.1]], [0, 0, 0, 0])
    # The second piece's best window is the first one's, seen again; [4, 7] overlaps it by 0.75.
    assert merged_windows([first, second]).tolist() == [[4, 8, 0.9], [10, 12, 0.1]]


def test_windows_of_one_piece_do_not_suppress_each_other():
    windows = [[0, 4, 0.9], [0, 4, 0.8], [0, 3.9, 0.7]]
    assert merged_windows([found(0, windows, [0] * 4)]).tolist() == windows
    other = found(1, [[-2 + 0, 2, 0.85]], [0] * 4)
    assert merged_windows([found(0, windows, [0] * 4), other]).tolist() == windows


def test_an_overlap_of_exactly_the_threshold_stays():
    parts = [found(0, [[0, 6, 0.9]], [0] * 4), found(1, [[1, 7, 0.8]], [0] * 4)]
    assert len(merged_windows(parts)) == 2  # [0, 6] and [3, 9]: 3 of 9
    parts = [found(0, [[0, 8, 0.9]], [0] * 4), found(1, [[-2, 2, 0.8]], [0] * 4)]
    assert len(merged_windows(parts)) == 2  # [0, 8] and [0, 4]: a half


def test_no_windows_are_no_windows():
    assert merged_windows([found(0, [], [0] * 4), found(2, [], [0] * 4)]).shape == (0, 3)


def test_saliency_is_averaged_where_pieces_overlap():
    parts = [found(0, [], [1, 2, 3, 4]), found(2, [], [5, 6, 7, 8])]
    assert merged_saliency(parts, 6).tolist() == [1, 2, 4, 5, 7, 8]


def test_averaged_scores_hold_for_all_their_clips():
    assert merged_saliency([found(0, [], [1, 2], clips=4)], 4).tolist() == [1, 1, 2, 2]
    assert merged_saliency([found(0, [], [1, 2, 3, 4, 5], clips=5)], 5).tolist() == [1, 2, 3, 4, 5]
