"""A small corpus of videos that show coloured shapes for some seconds, with sentences about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SIZE = 96
RATE = 4
"""Frames per second."""
SECONDS = 24
"""Length of a video."""
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 50, 230), "white": (245, 245, 245)}
PLACES = [(0, 8), (8, 16), (16, 24)]


@dataclass(frozen=True)
class Event:
    """A shape of one colour from ``start`` to ``end``, in whole seconds."""

    colour: str
    start: int
    end: int


def frame_of(events: Sequence[Event], second: float, noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(SIZE, SIZE, 3): a disc of the colour of whatever is shown, on a dark and grainy ground."""
    frame = noise.copy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    disc = (rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < (0.45 * SIZE) ** 2
    for event in events:
        if event.start <= second < event.end:
            frame[disc] = COLOURS[event.colour]
    return frame


def write_events(
    path: Path, events: Sequence[Event], rng: np.random.Generator, seconds: int = SECONDS, codec: str = "mpeg4"
) -> Path:
    """A video of ``seconds`` seconds."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(30, 70, (SIZE, SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = SIZE, SIZE, "yuv420p", 1_000_000
        for number in range(RATE * seconds):
            frame = av.VideoFrame.from_ndarray(frame_of(events, number / RATE, noise), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def two_events(rng: np.random.Generator) -> list[Event]:
    """Two events of different colours and places, 4 or 6 seconds long, on the grid of clips."""
    colours = rng.permutation(list(COLOURS))[:2]
    first, second = sorted(rng.permutation(len(PLACES))[:2])
    events = []
    for colour, place in zip(colours, (first, second), strict=True):
        length = 2 * int(rng.integers(2, 4))
        start = PLACES[place][0] + 2 * int(rng.integers(0, (8 - length) // 2 + 1))
        events.append(Event(str(colour), start, start + length))
    return events


def sentence(event: Event) -> str:
    return f"the {event.colour} thing"


def write_corpus(
    videos: Path, annotations: Path, sizes: dict[str, int], seed: int = 7
) -> dict[str, list[tuple[str, Event]]]:
    """``sizes`` videos per split and their annotations; split -> vid and event of every row."""
    rng = np.random.default_rng(seed)
    annotations.mkdir(parents=True)
    found: dict[str, list[tuple[str, Event]]] = {}
    qid = 0
    for split, count in sizes.items():
        rows, found[split] = [], []
        for number in range(count):
            vid, events = f"{split}{number}", two_events(rng)
            write_events(videos / f"{vid}.mp4", events, rng)
            for event in events:
                windows = [[event.start, event.end]]
                row = {"qid": qid, "query": sentence(event), "vid": vid, "duration": SECONDS}
                rows.append({**row, "relevant_windows": windows})
                found[split].append((vid, event))
                qid += 1
        (annotations / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found
