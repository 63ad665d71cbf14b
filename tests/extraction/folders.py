"""What a data root holds, as the tests of the command compare it."""

from pathlib import Path

import numpy as np

CLIP, SLOWFAST, TEXT = "clip_features", "slowfast_features", "clip_text_features"


def contents(root: Path) -> dict[str, bytes]:
    folder = root / "features"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def finished(root: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {name: content for name, content in contents(root).items() if not name.endswith(".extraction.lock")}


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as content:
        return dict(content)
