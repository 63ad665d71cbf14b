"""A page to try a trained network on videos of one's own: ``python -m sadetr serve`` (docs/serving.md)."""
