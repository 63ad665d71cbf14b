"""What batches of videos of similar length (`training.bucket_batches`, D76) save and change, on real annotations.

    python benchmarks/batch_composition.py --data-root DIR

``DIR/annotations/`` holds the official annotations. Prints a line of JSON per benchmark setting and bucket size: the
share of clips that is padding, the clips that batches are padded to, the different videos of a batch, the queries whose
successor in the batch, the giver of the negative text, is of the same video, and the spread of lengths within a batch.
No features are read.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from sadetr.configuration import resolve
from sadetr.data.annotations import clip_count, read_annotations
from sadetr.data.batches import bucketed
from sadetr.errors import SadetrError
from sadetr.randomness import Streams

SETTINGS = ("qvhighlights", "charades_sta", "charades_sta_vgg", "tacos")
BUCKETS = (1, 8, 16)
SEED = 2018
EPOCHS = 5
COMMAND = "python benchmarks/batch_composition.py --data-root DIR"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        for setting in SETTINGS:
            for bucket_batches in BUCKETS:
                values = measure(setting, bucket_batches, arguments.data_root)
                line = {"benchmark": "batch_composition", "setting": setting, **values, "command": COMMAND}
                print(json.dumps(line | {"numpy": np.__version__}), flush=True)
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(setting: str, bucket_batches: int, data_root: Path) -> dict[str, float]:
    """Means over all batches of some training epochs at the paper's batch size."""
    settings = resolve(setting, "sa_detr", "full", SEED, "paper")
    dataset, batch_size = settings.dataset, settings.training.batch_size
    file = data_root / "annotations" / dataset.annotations_in / dataset.annotations[dataset.train_split]
    queries = read_annotations(file, dataset.annotation_rules)
    longest = dataset.max_video_clips or sys.maxsize
    lengths = np.array([min(clip_count(query.duration, dataset.clip_length), longest) for query in queries])
    videos = np.unique([query.vid for query in queries], return_inverse=True)[1]
    streams, parts = Streams(SEED), []
    for epoch in range(EPOCHS):
        order = streams.numpy("order", epoch).permutation(len(queries))
        parts += bucketed(order, lengths, batch_size, bucket_batches, streams.numpy("buckets", epoch))
    whole = [part for part in parts if len(part) == batch_size]
    padded = sum(len(part) * lengths[part].max() for part in parts)
    same = [(videos[part] == np.roll(videos[part], -1)).mean() for part in whole]
    return {
        "bucket_batches": bucket_batches,
        "batch_size": batch_size,
        "queries": len(queries),
        "videos": int(videos.max()) + 1,
        "epochs": EPOCHS,
        "padding_percent": round(100 * (1 - sum(lengths[part].sum() for part in parts) / padded), 1),
        "padded_clips": round(float(np.mean([lengths[part].max() for part in parts])), 1),
        "videos_per_batch": round(float(np.mean([len(np.unique(videos[part])) for part in whole])), 1),
        "same_video_successors_percent": round(100 * float(np.mean(same)), 1),
        "length_std_within_batch": round(float(np.mean([lengths[part].std() for part in whole])), 1),
        "length_std": round(float(lengths.std()), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
