"""The one tree of errors: each says what is wrong, where, and what mends it.

A message names parameters as the Python API does. The command line prints it in one line, with its own flags in their place,
and exits 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

Spell = Callable[[str, object], str]
"""Writes a parameter, by its name in Python, and its value; "" where only the parameter is meant."""


def spell(option: str, value: object = "") -> str:
    """A parameter as Python writes it: "threads=4", or "threads" alone."""
    return option if value == "" else f"{option}={value}"


class HsiedgeError(Exception):
    """Base of all that a user can cause and can mend; anything else that is raised is a bug of ours.

    Attributes:
        reason: what is wrong, without the parameter at fault.
        option: the parameter at fault, by its name in Python; None where none is.
        value: what it was; None where its name says all.
        use: parameters that mend it, each with the value to give it ("" for any), in order.
        run: the command that mends it, as words of `hsiedge ...`; a pair is an option of the command and its value.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        option: str | None = None,
        value: object = None,
        use: Mapping[str, object] | None = None,
        run: Sequence[Any] = (),
    ) -> None:
        super().__init__(reason)
        self.reason, self.option, self.value = reason, option, value
        self.use, self.run = dict(use or {}), tuple(run)

    def __str__(self) -> str:
        return self.text(spell)

    @property
    def fields(self) -> dict[str, Any]:
        """All but the reason, as plain data: with both, another process or a wrapper makes the error again."""
        plain = [[str(part) for part in word] if isinstance(word, (tuple, list)) else str(word) for word in self.run]
        value = None if self.value is None else str(self.value)
        use = {option: str(needed) for option, needed in self.use.items()}
        return {"option": self.option, "value": value, "use": use, "run": plain}

    def within(self, where: object) -> Self:
        """A copy whose reason begins with the file or place that it is about."""
        return type(self)(f"{where}: {self.reason}", **self.fields)

    def text(self, spell: Spell) -> str:
        """The whole message in one line, its parameters written by `spell`."""
        parameter = "" if self.option is None else spell(self.option, "" if self.value is None else self.value) + ": "
        mended = " and ".join(spell(option, value) for option, value in self.use.items())
        command = " ".join(spell(*word) if isinstance(word, (tuple, list)) else str(word) for word in self.run)
        remedies = [f"use {mended}"] * bool(mended) + [f"hsiedge {command}"] * bool(command)
        return "; ".join([parameter + self.reason, *remedies])


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


class SourceError(HsiedgeError):
    """A source of lines that cannot be opened, stalls, ends within a line or gives nonsense.

    Attributes:
        summary: of the run that it ended (`hsiedge.live.summary.RunSummary`), whose maps are whole; None before it began.
    """

    summary: Any = None


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
    """A package that the command needs and the installation lacks.

    Attributes:
        what: the work that needs it.
        extra: the extra of hsiedge that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs a package that is not installed: pip install 'hsiedge[{extra}]'")
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.extra)


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Block of imports for `what`, of packages that `extra` of hsiedge brings. Raises MissingExtraError."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(what, extra) from error
