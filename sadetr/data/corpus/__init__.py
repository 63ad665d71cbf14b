"""The generated corpus: annotations and features of invented videos in the official on-disk layout.

Described in ``docs/generated_corpus.md``.
"""

from sadetr.data.corpus.generation import generate

__all__ = ["generate"]
