"""Parity with the authors' own code: fixtures of their numbers, recomputed by ours and compared (docs/parity.md)."""
