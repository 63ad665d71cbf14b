"""The typed configuration: every value, its default and its unit, in one place.

Defaults are the paper's for QVHighlights (Table 9) and, where the paper is silent, the readings listed in
``docs/interpretation.md``. Files under ``config/`` only override; :mod:`sadetr.configuration` reads and layers them.
This module and everything it imports stay free of torch.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, SerializerFunctionWrapHandler, model_serializer, model_validator

from sadetr.clips import clips_per_label, misfit
from sadetr.records import Fraction, PositiveFloat, PositiveInt, Record
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape
from sadetr.stream_settings import SENTENCES, TokenFiles, VideoStream, Vocabulary, WordVectors
from sadetr.training_settings import TrainingSettings


class Postprocess(Record):
    """What is done to predicted windows before they are written, in seconds (None = not done)."""

    clamp: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    round_to: PositiveFloat | None = None


class Selection(Record):
    """Which epoch a checkpoint is of: the one with the highest mean of ``metrics`` on ``split``."""

    metrics: list[str] = Field(default=["mAP"], min_length=1)
    split: str = "val"

    @property
    def title(self) -> str:
        """Split and metrics, as people read them."""
        return f"{self.split} {' & '.join(self.metrics)}"


class WindowOverrun(Record):
    """What is done with annotated windows that end after their video, as they do where durations were rounded."""

    rule: Literal["refuse", "clamp"] = "refuse"
    """Refuse the file, or end such a window with its video and say how many there were."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Seconds by which ``clamp`` shortens a window at most; a window that ends later still is refused."""

    @model_validator(mode="after")
    def _go_together(self) -> "WindowOverrun":
        if (self.rule == "clamp") != (self.tolerance > 0):
            raise ValueError(
                "rule 'clamp' needs a tolerance above 0 (seconds), and only that rule has one; durations that were "
                "rounded to whole seconds need {rule: clamp, tolerance: 1.0}"
            )
        return self


class AnnotationRules(Record):
    """What the reader of an annotation file must know of its setting."""

    clip_length: PositiveFloat = 2.0
    """Seconds per clip of the features."""
    label_clip_length: PositiveFloat | None = None
    """Seconds per clip that ``relevant_clip_ids`` count; None: found from ids and windows."""
    window_overrun: WindowOverrun = WindowOverrun()


class DatasetSettings(Record):
    """A benchmark setting: where its data lie, what shape they have and how it is scored."""

    name: str
    title: str
    clip_length: PositiveFloat
    """Seconds per clip of the features."""
    label_clip_length: PositiveFloat | None = None
    """Seconds per clip that ``relevant_clip_ids`` count. None: ``clip_length``, or, where ids and windows contradict
    it, the length under which they agree (docs/data.md, "Units")."""
    window_overrun: WindowOverrun = WindowOverrun()
    max_video_clips: PositiveInt | None = None
    max_positions: PositiveInt | None = None
    """Clips that a longer video is averaged to, each over an equal share of it: VSLNet's 128. A clip of such a video
    lasts duration / max_positions; there are no labels of single clips then. None: videos stay as long as they are."""
    max_text_tokens: PositiveInt | None = None
    max_windows: PositiveInt = 5
    """Windows per query used in training; a fresh random subset per epoch where there are more."""
    annotations: dict[str, str]
    """Split -> file name below ``<data root>/annotations/<annotation folder>/``."""
    annotation_folder: str | None = None
    """Where it is not the setting's own name: settings of one benchmark share its annotations."""
    train_split: str = "train"
    report_splits: list[str] = Field(default=["val"])
    video_streams: Annotated[list[VideoStream], Field(min_length=1)]
    text_stream: Annotated[TokenFiles | WordVectors | Vocabulary, Field(discriminator="kind")] = TokenFiles()
    source_video: str | None = None
    """Where videos were cut from longer ones: a regular expression that matches a whole ``vid`` and whose one group is
    the name of the original. A ``vid`` that it does not match is an original itself; None: all are."""
    length_tolerance: Annotated[int, Field(ge=0)] = 1
    """Clips by which a stream may differ from the duration and from the other streams: official features do, by one."""
    saliency: Literal["annotators", "window"] = "annotators"
    """Where clip labels come from: three annotators' scores, or 1 inside the window and 0 outside."""
    highlights: bool = True
    """Whether highlight detection (HD mAP, HIT@1) is defined."""
    postprocess: Postprocess = Postprocess()
    selection: Selection = Selection()
    """Rule of the checkpoint ``best``: the field's for this benchmark."""
    clean_selection: Selection | None = None
    """Rule of the checkpoint ``clean``, where the field selects on a split that it reports and a better one exists."""

    @model_validator(mode="after")
    def _splits_exist(self) -> "DatasetSettings":
        for split in [self.train_split, *self.selection_splits, *self.report_splits]:
            if split not in self.annotations:
                raise ValueError(f"split {split!r} has no annotation file; known splits: {', '.join(self.annotations)}")
        return self

    @model_validator(mode="after")
    def _labels_can_be_converted(self) -> "DatasetSettings":
        labels = self.label_clip_length
        if labels is not None and self.needs_clip_labels and clips_per_label(labels, self.clip_length) is None:
            raise ValueError(misfit(labels, self.clip_length))
        return self

    @model_validator(mode="after")
    def _source_is_one_group(self) -> "DatasetSettings":
        if self.source_video is None:
            return self
        try:
            groups = re.compile(self.source_video).groups
        except re.error as error:
            raise ValueError(f"source_video {self.source_video!r} is no regular expression ({error})") from error
        if groups != 1:
            raise ValueError(
                f"source_video {self.source_video!r} must have one group, the name of the original, and has {groups}; "
                "group without naming by (?:...)"
            )
        return self

    @model_validator(mode="after")
    def _averaged_clips_have_no_labels(self) -> "DatasetSettings":
        if self.max_positions is not None and self.needs_clip_labels:
            raise ValueError(
                "max_positions averages clips, and annotators' labels are of single ones: set saliency: window and "
                "highlights: false, or leave max_positions out"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a setting does not use and others have no identity by."""
        values = dump(self)
        if values.get("max_positions", 0) is None:
            del values["max_positions"]
        return values

    @property
    def needs_clip_labels(self) -> bool:
        """Whether clips are trained or scored on what annotators said about them."""
        return self.highlights or self.saliency == "annotators"

    @property
    def annotation_rules(self) -> AnnotationRules:
        """What the reader of the annotation files must know."""
        return AnnotationRules(
            clip_length=self.clip_length,
            label_clip_length=self.label_clip_length,
            window_overrun=self.window_overrun,
        )

    def clip_length_in(self, duration: float, clips: int) -> float:
        """Seconds per clip of a video of ``duration`` seconds that has ``clips`` in the feature store."""
        return duration / clips if clips == self.max_positions else self.clip_length

    def source_of(self, vid: str) -> str:
        """Name of the video that ``vid`` was cut from; its own where it was not."""
        found = None if self.source_video is None else re.fullmatch(self.source_video, vid)
        return vid if found is None else found[1]

    @property
    def feature_folders(self) -> dict[str, str]:
        """Stream -> its folder below ``features/<name>/``, where it has a file per video or query.

        Sentences are the stream ``text``; word vectors are no stream of files.
        """
        folders = {stream.name: stream.directory for stream in self.video_streams}
        text = {SENTENCES: self.text_stream.directory} if isinstance(self.text_stream, TokenFiles) else {}
        return folders | text

    @property
    def annotations_in(self) -> str:
        """Folder of the annotation files below ``<data root>/annotations/``."""
        return self.annotation_folder or self.name

    @property
    def checkpoints(self) -> dict[str, Selection | None]:
        """Checkpoints that a run keeps, with their selection rule; ``last`` is the last epoch."""
        clean = {} if self.clean_selection is None else {"clean": self.clean_selection}
        return {"best": self.selection, **clean, "last": None}

    @property
    def selection_splits(self) -> list[str]:
        """Splits that checkpoints are selected on, each once."""
        return list(dict.fromkeys(rule.split for rule in self.checkpoints.values() if rule is not None))

    @property
    def max_stored_clips(self) -> int | None:
        """Clips of a video in the feature store at most; None where nothing limits them."""
        return min((limit for limit in (self.max_video_clips, self.max_positions) if limit is not None), default=None)

    @property
    def video_width(self) -> int:
        """Channels of one clip as stored: all streams, without the temporal endpoint features."""
        return sum(stream.width for stream in self.video_streams)

    @property
    def feature_shape(self) -> FeatureShape:
        """What a method is built for."""
        text = self.text_stream
        characters = text.character_numbers if isinstance(text, Vocabulary) else 0
        return FeatureShape(self.video_width + TEMPORAL_FEATURES, text.width, self.clip_length, characters)


class FeatureSettings(Record):
    """How prepared features are stored."""

    dtype: Literal["float16", "float32"] = "float32"


class CorpusSettings(Record):
    """The generated corpus of the ``mini`` scale (docs/generated_corpus.md)."""

    seed: Annotated[int, Field(ge=0)] = 2018
    train_queries: PositiveInt = 1024
    val_queries: PositiveInt = 256
    test_queries: PositiveInt = 256
    queries_per_video: Annotated[int, Field(ge=1, le=12)] = 2
    """Combinations of attributes that sentences describe."""
    sentences_per_query: Annotated[int, Field(ge=1, le=8)] = 1
    """Differently worded queries about each of them."""
    window_counts: list[PositiveInt] = Field(default=[4855, 1230, 466, 266], min_length=1)
    """How often a combination occurs once, twice, ... in its video, as weights: by default QVHighlights' training
    queries with 1 to 4 windows (the 5.6 % with more are left out)."""
    median_event: Annotated[float, Field(gt=0, lt=1)] = 0.14
    """Median length of an event as a fraction of the video, before events are fitted into it."""
    event_spread: Annotated[float, Field(ge=0)] = 0.9
    """Standard deviation of an event's log length: by default one in twenty windows covers about half of the video,
    as in QVHighlights."""
    clips: Annotated[int, Field(ge=16)] = 32
    longest_video: Annotated[float, Field(ge=1)] = 1.0
    """Longest video as a multiple of ``clips``, the shortest; lengths are log-uniform between them."""
    on_grid: bool = True
    """Whether durations and windows are multiples of the clip length; otherwise they end somewhere within a clip."""
    named_queries: bool = False
    """Whether a qid is text, the video's name and a running number, instead of a number."""
    repeated_fraction: Fraction = 0.0
    """Share of queries that occur once more, word for word, for the same window."""
    untidy_fraction: Fraction = 0.0
    """Share of sentences typed carelessly: a doubled letter, a doubled or a leading blank."""
    short_video_fraction: Fraction = 0.15
    """Share of videos that are shorter than the rest."""
    short_feature_fraction: Fraction = 0.05
    """Share of videos one of whose streams is one clip short of the duration."""
    values_per_attribute: Annotated[int, Field(ge=3, le=12)] = 8
    distractor_rate: Fraction = 0.15
    """Share of the undescribed events that differ from a described one in exactly one attribute."""
    omission_rate: Fraction = 0.1
    """Share of sentences that leave one attribute out, where the video allows it without ambiguity."""
    video_noise: Annotated[float, Field(ge=0)] = 0.4
    """Independent noise of every clip; like the next three relative to the attributes' signal (both per channel)."""
    appearance_noise: Annotated[float, Field(ge=0)] = 0.2
    """Noise shared by the clips of one event: no two occurrences look alike."""
    background: Annotated[float, Field(ge=0)] = 0.3
    """Offset shared by all clips of one video."""
    text_noise: Annotated[float, Field(ge=0)] = 0.1
    """Independent noise of every token."""


class StreamSimulation(Record):
    """How an imaginary video backbone sees (docs/simulated_features.md)."""

    motion: Fraction = 0.0
    """0: how things look in one clip; 1: how they move, from the neighbouring clips too."""
    zeros: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """About the share of channels without a response, as after a rectifier; 0: not rectified."""


Strength = Annotated[float, Field(ge=0, le=20)]


class SimulationSettings(Record):
    """How hard the features of the ``simulated`` scale are, for all methods alike (docs/simulated_features.md).

    Strengths are relative to the signal of what a clip shows.
    """

    seed: Annotated[int, Field(ge=0)] = 2018
    streams: dict[str, StreamSimulation] = Field(default_factory=dict)
    """Name of a video stream -> how it sees."""
    noise: Strength = 0.7
    """Independent noise of every channel of every clip."""
    clutter: Strength = 1.7
    """What else is to be seen: it means something, unlike noise, and changes with time."""
    clutter_seconds: PositiveFloat = 2.0
    """Time in which clutter is forgotten by a factor of e."""
    background: Strength = 1.0
    """Offset shared by all clips of one video."""
    appearance: Strength = 0.5
    """How much an occurrence of an event differs from its sentence, in all its clips alike."""
    distractor_rate: Fraction = 0.5
    """Share of the events outside the windows that share words with a query of the video."""
    shared_words: Fraction = 0.5
    """About the share of the content words that they share."""
    segment_seconds: PositiveFloat = 12.0
    """Median length of the events outside the windows."""
    saliency_contrast: Fraction = 0.6
    """1 - how clearly the least salient clips show their event; the most salient ones have 1."""
    boundary_jitter: Annotated[float, Field(ge=0)] = 1.0
    """Standard deviation in seconds by which an event starts and ends before or after its annotated window."""
    short_features: list[int | str] = Field(default_factory=list)
    """qids whose video's features are one clip shorter than the duration, as official ones are."""


class ExecutionSettings(Record):
    """Where a run is computed. Not part of a run's identity: changing it retrains nothing."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    features: Literal["auto", "resident", "pinned", "mapped"] = "auto"
    """Where a training has its features (docs/placement.md), with the same bits: on its device; in pinned memory, from
    which batches are copied while steps are computed; or in the memory map of the store. ``auto``: on a GPU the first
    of these that fits, on a processor the memory map."""
    threads: PositiveInt = 2
    """CPU threads of one training; part of what "same machine, same bits" needs."""
    step: Literal["auto", "plain", "taped", "captured", "compiled"] = "auto"
    """How an update is computed. ``plain``: one operator after another. ``taped``: the same operators, noted once per
    shape of batches, without Python and autograd between them; on a processor. ``captured``: as one CUDA graph per
    shape. ``compiled``: by ``torch.compile``, once per shape. ``auto``: taped on a processor, captured on a GPU that no
    other run shares, else plain. Rare shapes go the plain way, and so does what cannot be recorded, or gains nothing
    from a tape."""


class RunSettings(Record):
    """The resolved configuration of one run: everything that its numbers depend on."""

    setting: str
    method: str
    variant: str
    seed: Annotated[int, Field(ge=0)] = 2018
    dataset: DatasetSettings
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    execution: ExecutionSettings = ExecutionSettings()
    model: SerializeAsAny[Record]
    """The method's own settings, of the type that its configuration file names."""

    def identity(self) -> dict[str, Any]:
        """Everything that defines the trained network, as plain data: runs with equal identities share one folder."""
        return self.model_dump(mode="json", exclude={"variant", "execution"})
