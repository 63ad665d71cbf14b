"""Clip features of every stream: a backbone's projection of what is shown, of what else is there, and noise."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from sadetr.data.packing import normalise_rows
from sadetr.data.simulation.embedding import WIDTH, Vector, WordSpace, generator
from sadetr.data.simulation.projection import Projection
from sadetr.data.simulation.timeline import Video, shown_meaning
from sadetr.errors import SettingsError
from sadetr.settings import DatasetSettings, SimulationSettings, StreamSimulation

SMOOTHING = (0.25, 0.5, 0.25)
"""Shares of the previous, this and the next clip in what a motion backbone sees."""

CHANGE = 0.5
"""Weight in it of the change since the previous clip."""

LOOKS, MOVES = 0, 1
"""The two views of a meaning."""


class VideoModel:
    """The imaginary video backbones of a setting."""

    def __init__(self, settings: SimulationSettings, dataset: DatasetSettings, space: WordSpace) -> None:
        """Draw the projections.

        Raises:
            SettingsError: the settings do not say how a stream of ``dataset`` sees.
        """
        for stream in dataset.video_streams:
            if stream.name not in settings.streams:
                raise SettingsError(
                    f"setting {dataset.name}: simulation.streams does not say how stream {stream.name!r} sees; it "
                    f"knows {', '.join(settings.streams) or 'none'}. Add the stream to the scale file."
                )
        self._settings = settings
        self._space = space
        self._projections = {
            stream.name: Projection(settings.seed, f"video {stream.name}", stream.width)
            for stream in dataset.video_streams
        }
        powers = (settings.clutter**2, settings.background**2, settings.noise**2)
        self._channel_scale = np.sqrt(1 + sum(powers))

    def features(self, video: Video) -> dict[str, NDArray[np.float32]]:
        """Stream name -> (clips, width), l2-normalised as :mod:`sadetr.data.packing` does."""
        scene = shown_meaning(video, self._space, self._settings) + self._surroundings(video)
        moving = _motion(scene[MOVES])
        return {name: self._seen(name, scene[LOOKS], moving, video.vid) for name in self._projections}

    def _surroundings(self, video: Video) -> Vector:
        """(2, clips, WIDTH): the video's background, and what else passes by."""
        settings = self._settings
        rng = generator(settings.seed, "surroundings", video.vid)
        background = settings.background * rng.standard_normal((2, 1, WIDTH))
        fresh = rng.standard_normal((2, video.clips, WIDTH))
        # A stationary process that forgets with time, not with clips: short clips resemble their neighbours.
        kept = np.exp(-video.clip_length / settings.clutter_seconds)
        fresh[:, 1:] *= np.sqrt(1 - kept**2)
        clutter = settings.clutter * lfilter([1.0], [1.0, -kept], fresh, axis=1)
        return (background + clutter) / np.sqrt(WIDTH)

    def _seen(self, name: str, looks: Vector, moving: Vector, vid: str) -> NDArray[np.float32]:
        view, project = self._settings.streams[name], self._projections[name]
        channels = project((1 - view.motion) * looks + view.motion * moving)
        rng = generator(self._settings.seed, "noise", name, vid)
        noise = rng.standard_normal(channels.shape, dtype=np.float32)
        noise *= np.float32(self._settings.noise)
        channels += noise
        self._rectify(channels, view)
        return normalise_rows(channels)

    def _rectify(self, channels: NDArray[np.float32], view: StreamSimulation) -> None:
        """Rectify in place; the threshold leaves about the share ``zeros`` of all channels without a response."""
        if view.zeros > 0:
            channels -= np.float32(self._channel_scale * NormalDist().inv_cdf(view.zeros))
            np.maximum(channels, 0, out=channels)


def _motion(moves: Vector) -> Vector:
    """(clips, WIDTH): smoothed over time, plus the change since the previous clip."""
    before, after = np.vstack([moves[:1], moves[:-1]]), np.vstack([moves[1:], moves[-1:]])
    return SMOOTHING[0] * before + SMOOTHING[1] * moves + SMOOTHING[2] * after + CHANGE * (moves - before)
