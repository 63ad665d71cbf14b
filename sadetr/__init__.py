"""sadetr: a reproduction pipeline for SA-DETR, the span-aware detection transformer for moment retrieval."""

__version__ = "0.1.0"
