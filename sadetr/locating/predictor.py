"""A trained network that answers sentences about videos: the Python interface of ``python -m sadetr locate``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from sadetr.configuration import load_scale, resolve_dataset
from sadetr.data.batches import Split
from sadetr.data.query import Query
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, SettingsError
from sadetr.experiments import RunId, canonical
from sadetr.extraction.decoding import DIRECT, Decoder
from sadetr.extraction.extractors import make_exact
from sadetr.extraction.streams import Options
from sadetr.layout import Layout
from sadetr.locating.cache import FeatureCache, VideoFeatures
from sadetr.locating.features import FeatureMaker, check_same_features, check_setting, make_store
from sadetr.locating.pieces import Found, Piece, cut, longest_piece, merged_saliency, merged_windows
from sadetr.locating.result import Located, Window
from sadetr.training.prediction import predict
from sadetr.training.predictor import Predictor as Network
from sadetr.training.predictor import file_predictor, run_predictor

WEIGHTS_SUFFIX = ".safetensors"
RESULTS = Path("results")


@dataclass(frozen=True)
class Predictor:
    """A trained network and what makes the features that it reads; see :meth:`load`."""

    name: str
    """Where its weights come from, for readers."""
    label: str
    """What the scale says on all its results; empty for the paper's own."""
    _network: Network
    _features: FeatureMaker
    _options: Options

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        scale: str = "paper",
        results: Path = RESULTS,
        checkpoint: str = "best",
        setting: str | None = None,
        method: str | None = None,
        variant: str | None = None,
        options: Options | None = None,
        cache: Path | None = None,
    ) -> Self:
        """Load a run's network, or a checkpoint file's, and the networks that make its features.

        Args:
            source: a run, ``<setting>/<method>/<variant>/seed<k>``; or a checkpoint file: a path, or text that ends in
                ``.safetensors``.
            scale: name or file of the scale that it was trained at.
            results: folder that holds the results of all scales.
            checkpoint: of a run: ``best``, ``clean`` or ``last``.
            setting: of a file: its benchmark setting.
            method: of a file that does not say it.
            variant: of a file; default: the one it says, else the method's first.
            options: weights and device that features are made with, as for ``extract``; default: the published ones,
                fetched to ``results/downloads``, on the CPU. The network computes on the same device.
            cache: folder in which features of videos are kept; None: they are not.

        Raises:
            SettingsError: the scale has generated or simulated features, or the setting some that are not made here;
                or weights and setting do not belong together.
            ResultsError: the run is not trained, or a file is not there, damaged or of another network.
            DataError, DownloadError: weights that make features are not there, or not what they should be.
        """
        options = options or Options(root=results)
        layout = _layout(scale, results)
        run = None if _is_file(source) else canonical(RunId.parse(str(source)), scale)
        setting = setting if run is None else run.setting
        if setting is None:
            raise SettingsError(f"{source}: say which benchmark setting it was trained for: --setting SETTING")
        check_setting(resolve_dataset(setting, scale))
        if run is None:
            store = partial(FeatureStore.open, layout.store(setting))
            network, trained = file_predictor(Path(source), setting, layout, method, variant, store), {}
        else:
            network, trained = _of_run(run, layout, checkpoint)
        make_exact()
        dataset = network.settings.dataset
        features = FeatureMaker(dataset, options, None if cache is None else FeatureCache(cache))
        check_same_features(trained, dataset, features.made_with)
        network.model.to(options.device)
        return cls(network.name, layout.scale.label, network, features, options)

    def locate(self, video: str | Path, sentences: str | Sequence[str]) -> list[Located]:
        """Find in a video what each sentence says; every answer is independent of the other sentences.

        A video that is longer than the setting's longest is cut into overlapping pieces (docs/locating.md).

        Raises:
            DataError: a sentence is blank; or the file is no video, is damaged, or is too short for a clip.
            ResultsError: the cache cannot be written.
        """
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        for number, sentence in enumerate(sentences, 1):
            check_sentence(sentence, f"sentence {number}")
        return self.answer(str(video), self.features(video), sentences) if sentences else []

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams of :meth:`features`, in the order in which they are made."""
        return self._features.streams

    def features(self, video: str | Path, decoder: Decoder = DIRECT) -> VideoFeatures:
        """What :meth:`answer` needs of a video; ``decoder`` opens the file.

        Raises:
            DataError: the file is no video, is damaged, or is too short for a clip.
            ResultsError: the cache cannot be written.
        """
        return self._features.video(Path(video), decoder)

    def answer(self, video: str, features: VideoFeatures, sentences: Sequence[str]) -> list[Located]:
        """As :meth:`locate`, about features of :meth:`features`; ``video`` is the name in the answers."""
        dataset = self._network.settings.dataset
        clips = len(next(iter(features.streams.values())))
        pieces = cut(clips, longest_piece(dataset), dataset.clip_length, features.duration)
        return [
            self._answer(video, sentence, features, clips, found)
            for sentence, found in zip(sentences, self._predict(features, pieces, sentences), strict=True)
        ]

    def _predict(self, features: VideoFeatures, pieces: Sequence[Piece], sentences: Sequence[str]) -> list[list[Found]]:
        """Per sentence what the network finds in every piece."""
        settings = self._network.settings
        store = make_store(settings.dataset, settings.features, features, pieces, self._features.tokens(sentences))
        queries = [
            Query(number, sentence, str(place), piece.duration, None, None, None)
            for number, sentence in enumerate(sentences)
            for place, piece in enumerate(pieces)
        ]
        split = Split(queries, store, settings.dataset)
        # One at a time: some published networks let the members of a batch influence each other.
        predictions = predict(self._network.model, split, 1, self._options.device, ranking=settings.training.ranking)
        windows = np.split(predictions.windows, np.cumsum(predictions.window_counts)[:-1])
        saliency = np.split(predictions.saliency, np.cumsum(predictions.saliency_counts)[:-1])
        found = [*map(Found, [*pieces] * len(sentences), windows, saliency)]
        return [found[first : first + len(pieces)] for first in range(0, len(found), len(pieces))]

    def _answer(
        self, video: str, sentence: str, features: VideoFeatures, clips: int, found: Sequence[Found]
    ) -> Located:
        windows = merged_windows(found)
        windows[:, :2] = np.clip(windows[:, :2], 0, features.duration)
        kept = [Window(*map(float, window)) for window in windows.round(4) if window[1] > window[0]]
        return Located(
            video=video,
            sentence=sentence,
            duration=features.duration,
            windows=tuple(kept),
            saliency=merged_saliency(found, clips),
            clip_length=self._network.settings.dataset.clip_length,
            warnings=features.warnings,
        )


def check_sentence(sentence: str, name: str) -> None:
    """
    Raises:
        DataError: there are no words in it.
    """
    if not sentence.strip():
        raise DataError(f"{name} is blank: say what is to be found")


def _layout(scale: str, results: Path) -> Layout:
    layout = Layout(load_scale(scale), results)
    if layout.scale.data != "official":
        raise SettingsError(
            f"scale {layout.scale.name!r}: its features are {layout.scale.data}, so its networks know nothing of "
            "videos; name the scale of a training on features from videos with --scale"
        )
    return layout


def _is_file(source: str | Path) -> bool:
    return isinstance(source, Path) or source.endswith(WEIGHTS_SUFFIX)


def _of_run(run: RunId, layout: Layout, checkpoint: str) -> tuple[Network, dict[str, Any]]:
    """The network of a run, and what the features were extracted with that it was trained on, as far as is known."""
    path = layout.store(run.setting)
    network = run_predictor(run, layout, checkpoint, partial(FeatureStore.open, path))
    return network, network.open_store().manifest.get("extracted", {}) if path.exists() else {}
