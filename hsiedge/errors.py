"""The one tree of errors. A message says what is wrong, where, and what to do; the command line prints it and exits 2."""

from __future__ import annotations


class HsiedgeError(Exception):
    """What a user can cause and can mend. Anything else that is raised is a bug of ours."""


class SceneError(HsiedgeError):
    """A cube or a label map that cannot be found, read or believed."""


class SplitError(HsiedgeError):
    """A division of the labelled pixels that cannot be made, or is not the one a model was trained on."""


class CardError(HsiedgeError):
    """A file without a Card where one is needed, or with one that cannot be read."""


class ModelError(HsiedgeError):
    """A model or checkpoint that cannot be opened, or does not fit the scene it is given."""


class CheckError(HsiedgeError):
    """A step whose result failed its own verification; the file was not written."""


class OptionError(HsiedgeError):
    """An argument outside of what the command can do."""


class OutputError(HsiedgeError):
    """A place that cannot be written to."""


class StudyError(HsiedgeError):
    """A study's store that cannot be read or is in use, or cells that failed."""


class ResultError(HsiedgeError):
    """A file or a machine's answer that is no result of a measurement, or one of another schema."""


class RemoteError(HsiedgeError):
    """A machine that cannot be reached over SSH, has no environment for hsiedge, or failed at what it was to do."""


class ClusterError(HsiedgeError):
    """A Dask cluster that does not answer, has no workers, or lost those that were at work."""


class DownloadError(HsiedgeError):
    """A file that could not be fetched, or arrived different from what it should be."""


class MissingExtraError(HsiedgeError):
    """A package that the command needs and the installation lacks."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs a package that is not installed: pip install 'hsiedge[{extra}]'")
        self.extra = extra
