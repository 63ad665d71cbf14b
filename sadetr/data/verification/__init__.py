"""Verification of a data root: annotations against the official files, features against the annotations.

Nothing is imported here: preparation needs :mod:`sadetr.data.verification.manifest` alone, and its fingerprint should
not change with the checks.
"""
