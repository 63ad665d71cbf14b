"""Errors that a user can act on.

The command line prints the message of a :class:`SadetrError` and exits with code 1; every other exception is a
defect of the program and keeps its traceback.
"""


class SadetrError(Exception):
    """Base of all errors with a remedy: the message names the file, the row or key, and what to do."""


class SettingsError(SadetrError):
    """A configuration file, a command-line value or an experiment file is wrong."""


class DataError(SadetrError):
    """Annotations, feature files or predictions are missing or malformed."""


class StoreError(DataError):
    """A prepared feature store is missing, incomplete or does not match its checksums."""


class ResultsError(SadetrError):
    """Results are missing, incomplete, or cannot be written."""


class DownloadError(SadetrError):
    """A file cannot be fetched, is not what it should be, or cannot be unpacked."""
