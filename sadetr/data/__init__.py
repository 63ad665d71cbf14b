"""Annotations, features and batches."""
