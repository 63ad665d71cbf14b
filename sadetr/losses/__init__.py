"""Matching and the loss terms."""
