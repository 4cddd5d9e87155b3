"""Registries: entries by name. Ours stand in a table, installed packages add theirs as entry points, a user by FILE.py:NAME.

An entry is loaded when it is asked for, and at no other time. A package's entry that cannot be loaded is an error for who asks
for it by name, and a warning for who looks through all entries.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from hsiedge.errors import OptionError

T = TypeVar("T")
_REASON = 200  # characters of another's error that are passed on


@dataclass(frozen=True)
class Origin:
    """Origin of an entry that is not ours.

    Attributes:
        distribution: the installed package and its version, "my-nets 1.0"; "" for a file.
        file: the Python file's own name, without its folder; "" for a package.
        sha256: of that file.
    """

    distribution: str = ""
    file: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return self.file or self.distribution


@dataclass(frozen=True)
class _FileEntry:
    """An entry that a user named by FILE.py:NAME, for the time of this process."""

    path: Path
    value: Any
    origin: Origin


class Registry(Generic[T]):
    """Entries of one kind by name: ours first, then those of installed packages, then those named by FILE.py:NAME.

    Args:
        group: the entry-point group of other packages, "hsiedge.nets".
        noun: what an entry is called in errors, "net".
        ours: name to "module:NAME", as an entry point has it, or to the entry itself.
        accept: makes an entry of what a module holds under its name; raises TypeError, saying what was expected, where it
            cannot.
    """

    def __init__(self, group: str, noun: str, ours: Mapping[str, T | str], accept: Callable[[Any], T]) -> None:
        self.group, self.noun = group, noun
        self._ours, self._accept = dict(ours), accept
        self._loaded: dict[str, T] = {}
        self._files: dict[str, _FileEntry] = {}
        self._unusable: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._ours or name in self._files or name in self._installed

    def __iter__(self) -> Iterator[str]:
        """The names; nothing is loaded, and packages are looked through once ours are done with."""
        yield from self._ours
        yield from (name for name in self._installed if name not in self._ours)
        yield from self._files

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> T:
        """The entry of a name.

        Raises:
            OptionError: no such name, two packages that claim it, or an entry that cannot be loaded.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries. One that cannot be loaded is left out, and a warning names its package."""
        for name in self:
            try:
                entry = self[name]
            except OptionError as error:
                if name not in self._unusable:
                    self._unusable.add(name)
                    warnings.warn(str(error), stacklevel=2)
                continue
            yield name, entry

    def first(self, fits: Callable[[T], bool]) -> T | None:
        """The first entry that fits: one of a user's file, else one of ours, else a package's; None where none does."""
        named = (self[name] for name in (*self._files, *self._ours))
        every = chain(named, (entry for _, entry in self.items()))
        return next((entry for entry in every if fits(entry)), None)

    def name_of(self, text: str) -> str:
        """The name of what a user asks for: a name, or FILE.py:NAME, whose entry is called NAME from then on.

        The file is the user's own, and is run. Nothing that a file of data says may come here.

        Raises:
            OptionError: no such name or file, a file that fails or lacks NAME, or a NAME that another entry has.
        """
        if ".py:" in text:
            return self._add_file(text)
        if text not in self:
            raise OptionError(f"no {self.noun} is called {text!r}; there are {', '.join(self)}; your own: FILE.py:NAME")
        if text in self._ours and text in self._installed:
            others = _listed(self._installed[text])
            warnings.warn(
                f"{self.noun} {text!r} is hsiedge's own; that of {others} has the same name, and is not used", stacklevel=2
            )
        return text

    def find(self, text: str) -> T:
        """The entry of what a user asks for. Raises OptionError, as `name_of`."""
        return self[self.name_of(text)]

    def origin(self, name: str) -> Origin | None:
        """Origin of an entry; None for ours."""
        if name in self._ours:
            return None
        if name in self._files:
            return self._files[name].origin
        return Origin(distribution=_listed(self._installed[name])) if name in self._installed else None

    def source(self, name: str) -> str | None:
        """FILE.py:NAME of an entry from a user's file, by which another process has it too; None for any other."""
        return f"{self._files[name].path}:{name}" if name in self._files else None

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        """Entry points by name; more than one where packages clash."""
        points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            points.setdefault(point.name, []).append(point)
        return points

    def _load(self, name: str) -> T:
        if name in self._ours:
            entry = self._ours[name]
            return self._accept(_attribute(entry)) if isinstance(entry, str) else entry
        if name in self._files:
            file = self._files[name]
            return self._accepted(file.value, f"{file.path}: {name}")
        if name not in self._installed:
            raise OptionError(f"no {self.noun} is called {name!r}; there are {', '.join(self)}")
        points = self._installed[name]
        if len(points) > 1:
            raise OptionError(f"{self.noun} {name!r} is claimed by {_listed(points)}; uninstall all of them but one")
        where = f"{self.noun} {name!r} of {_listed(points)}"
        try:
            value = points[0].load()
        except Exception as error:  # whatever another's package raises
            raise OptionError(f"{where} cannot be loaded ({_reason(error)})") from error
        return self._accepted(value, where)

    def _accepted(self, value: Any, where: str) -> T:
        try:
            return self._accept(value)
        except TypeError as error:
            raise OptionError(f"{where} is no {self.noun}: {error}") from error

    def _add_file(self, text: str) -> str:
        place, _, name = text.rpartition(":")
        path = Path(place).absolute()
        if name in self._ours or name in self._installed:
            owner = "hsiedge's own" if name in self._ours else f"one of {_listed(self._installed[name])}"
            raise OptionError(f"{text}: {self.noun} {name!r} is {owner}; give yours another name")
        if name in self._files and self._files[name].path != path:
            raise OptionError(f"{text}: {name!r} is taken by {self._files[name].path}; give one of the two another name")
        module, sha256 = run_file(Path(place))
        if not hasattr(module, name):
            raise OptionError(f"{place}: has nothing called {name!r}")
        value = getattr(module, name)
        entry = self._accepted(value, text)
        self._files[name] = _FileEntry(path, value, Origin(file=path.name, sha256=sha256))
        self._loaded[name] = entry
        return name


def run_file(path: Path) -> tuple[types.ModuleType, str]:
    """Runs a user's own Python file; its module, and the file's SHA-256. It is run once as long as it stays as it is.

    Raises:
        OptionError: no such file, or one that fails.
    """
    if not path.is_file():
        raise OptionError(f"{path}: no such file")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        return _run(path.absolute(), sha256), sha256
    except Exception as error:  # whatever the user's file raises
        raise OptionError(f"{path}: cannot be run ({_reason(error)})") from error


def _run(path: Path, sha256: str) -> types.ModuleType:
    """The module of a file, under a name that no other module has."""
    key = f"hsiedge_user_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{sha256[:8]}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    sys.path.insert(0, str(path.parent))  # its neighbours, as when it is run
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[key]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def instance_of(kind: type[T]) -> Callable[[Any], T]:
    """Loader of a registry of instances: takes an instance of a class, or a class that is made without arguments."""

    def accept(value: Any) -> T:
        entry = value() if isinstance(value, type) and issubclass(value, kind) else value
        if not isinstance(entry, kind):
            raise TypeError(f"a {kind.__module__}.{kind.__qualname__} was expected, not {type(entry).__name__}")
        return entry

    return accept


def _attribute(reference: str) -> Any:
    """Object that "module:NAME" of ours stands for."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _listed(points: list[EntryPoint]) -> str:
    return " and ".join(f"{point.dist.name} {point.dist.version}" if point.dist else point.value for point in points)


def _reason(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")[:_REASON]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
