"""Scores of moment retrieval and highlight detection, prediction files and their post-processing.

The definitions are in docs/metrics.md. Nothing here needs torch.
"""
