"""Where things lie: ``results/<scale>/`` and the data root."""

from dataclasses import dataclass
from pathlib import Path

from sadetr.configuration import ScaleSettings
from sadetr.errors import SettingsError
from sadetr.experiments import RunId
from sadetr.settings import DatasetSettings


@dataclass(frozen=True)
class Layout:
    """Paths of one scale."""

    scale: ScaleSettings
    results: Path = Path("results")
    given_data_root: Path | None = None
    videos: Path | None = None
    """Folder of the videos that features are made from; None where they are given or generated."""

    @property
    def folder(self) -> Path:
        """``results/<scale>``."""
        return self.results / self.scale.name

    @property
    def data_root(self) -> Path:
        """Folder with ``annotations/<setting>/`` and ``features/<setting>/``; generated scales make their own.

        Raises:
            SettingsError: the scale needs real data and no data root was given.
        """
        if self.scale.data == "generated":
            return self.folder / "data"
        if self.given_data_root is None:
            raise SettingsError(
                f"scale {self.scale.name!r} needs real data: say where they lie with --data-root DIR "
                "(Snakemake: --config data_root=DIR)"
            )
        return self.given_data_root

    def annotations(self, dataset: DatasetSettings) -> dict[str, Path]:
        """Split -> annotation file."""
        folder = self.data_root / "annotations" / dataset.annotations_in
        return {split: folder / name for split, name in dataset.annotations.items()}

    def store(self, setting: str) -> Path:
        """Feature store."""
        return self.folder / "features" / setting

    def prepared(self, setting: str) -> Path:
        """What runs depend on: checksums of the feature store and of the annotations (:mod:`sadetr.data.inputs`)."""
        return self.folder / "prepared" / f"{setting}.json"

    def inputs(self, setting: str) -> Path:
        """Sizes, times and checksums of the files that the feature store was made from."""
        return self.folder / "prepared" / f"{setting}.inputs.json"

    def extracted(self, setting: str, stream: str) -> Path:
        """Which features the workflow extracted: their record, once all are there."""
        return self.folder / "extracted" / setting / f"{stream}.json"

    def corpus(self, setting: str) -> Path:
        """Which corpus was generated: its fingerprint."""
        return self.folder / "data" / f"{setting}.json"

    @property
    def published(self) -> Path | None:
        """Folder with other authors' predictions and logs, ``<setting>/``; it may be absent.

        None without real data: generated queries are not those that the authors predicted.
        """
        if self.scale.data == "generated" or self.given_data_root is None:
            return None
        return self.given_data_root / "released_predictions"

    def rescored(self, setting: str) -> Path:
        """Metrics of the published predictions."""
        return self.folder / "rescored" / f"{setting}.parquet"

    @property
    def metrics(self) -> Path:
        """Metrics of everything that was scored."""
        return self.folder / "metrics.parquet"

    @property
    def paper(self) -> Path:
        """LaTeX document of all tables and figures."""
        return self.folder / "paper.tex"

    def run(self, run: RunId) -> "RunFolder":
        """Files of a run."""
        return RunFolder(self.folder / "runs" / run.folder)


@dataclass(frozen=True)
class RunFolder:
    """Files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """File of the resolved settings."""
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of all checkpoints: which there are depends on the benchmark setting."""
        return self.path / "checkpoints"

    def checkpoint(self, name: str) -> Path:
        """Weights of one of the benchmark setting's ``checkpoints``: ``best``, ``clean`` or ``last``."""
        return self.checkpoints / f"{name}.safetensors"

    @property
    def history(self) -> Path:
        """File with one row per epoch."""
        return self.path / "history.parquet"

    @property
    def predictions(self) -> Path:
        """Folder of all predictions."""
        return self.path / "predictions"

    def prediction(self, checkpoint: str, split: str) -> Path:
        """Predictions of one checkpoint on one split, in submission format."""
        return self.predictions / f"{checkpoint}.{split}.jsonl"

    def predicted(self, checkpoint: str, split: str) -> Path:
        """What ``predict`` writes. Apart from :attr:`predictions`, which is of the training and counts for its date."""
        return self.path / "predicted" / f"{checkpoint}.{split}.jsonl"

    @property
    def state(self) -> Path:
        """What an unfinished training continues from; gone once it is finished."""
        return self.path / "state.safetensors"

    @property
    def provenance(self) -> Path:
        """Written last by the training: where it is, the run is complete."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """Metrics of the predictions."""
        return self.path / "metrics.parquet"

    @property
    def query_scores(self) -> Path:
        """What every query adds to these metrics."""
        return self.path / "query_scores.parquet"

    @property
    def trained(self) -> list[Path]:
        """Files that a finished training leaves, beside the folders of checkpoints and predictions."""
        return [self.config, self.history, self.provenance]
