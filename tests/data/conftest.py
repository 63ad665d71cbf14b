"""A small benchmark setting and one generated corpus of it, shared by the tests of this folder."""

import shutil
from pathlib import Path

import pytest

from sadetr.data.corpus import generate
from sadetr.settings import CorpusSettings, DatasetSettings, TokenFiles, VideoStream


@pytest.fixture(scope="session")
def dataset() -> DatasetSettings:
    return DatasetSettings(
        name="small",
        title="Small",
        clip_length=2.0,
        max_video_clips=24,
        max_text_tokens=9,
        annotations={split: f"{split}.jsonl" for split in ("train", "val", "test")},
        video_streams=[
            VideoStream(name="slowfast", directory="slowfast_features", width=12),
            VideoStream(name="clip", directory="clip_features", width=8),
        ],
        text_stream=TokenFiles(width=10),
    )


@pytest.fixture(scope="session")
def corpus() -> CorpusSettings:
    return CorpusSettings(
        train_queries=60,
        val_queries=21,
        test_queries=10,
        clips=24,
        short_video_fraction=0.3,
        short_feature_fraction=0.2,
    )


@pytest.fixture(scope="session")
def shared_root(dataset: DatasetSettings, corpus: CorpusSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the generated corpus; not to be changed."""
    root = tmp_path_factory.mktemp("corpus")
    generate(dataset, corpus, root)
    return root


@pytest.fixture
def data_root(shared_root: Path, tmp_path: Path) -> Path:
    """A private copy of the corpus that a test may damage."""
    return Path(shutil.copytree(shared_root, tmp_path / "data"))
