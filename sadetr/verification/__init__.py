"""Verification of a data root: annotations against the official files, features against the annotations."""
