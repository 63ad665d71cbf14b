"""Explaining runs: what they are made of, and what their network computes for one query (docs/inspection.md)."""
