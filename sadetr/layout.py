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
        folder = self.data_root / "annotations" / dataset.name
        return {split: folder / name for split, name in dataset.annotations.items()}

    def store(self, setting: str) -> Path:
        """Feature store."""
        return self.folder / "features" / setting

    def run(self, run: RunId) -> Path:
        """Run folder."""
        return self.folder / "runs" / run.folder
