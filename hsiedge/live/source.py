"""Sources of lines: the interface, the registry, and how a text names one.

A source is a class. To connect a camera, derive from `Source`, tell of its lines in `cube`, give them in `lines`, and name it
as FILE.py:NAME, or register it under `hsiedge.sources`:

    class Camera(Source):
        def __init__(self, address, options):
            super().__init__(address, options)
            self._camera = sdk.open(address)
            self.cube = line_cube("my camera", 640, 200, "uint16", wavelengths=self._camera.wavelengths)

        def lines(self):
            while not self.stopped.is_set():
                yield self._camera.grab()[None]      # (1, 640, 200) uint16

        def close(self):
            self._camera.close()
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import HsiedgeError, OptionError, SourceError
from hsiedge.registry import Registry
from hsiedge.scenes.io.cube import Cube

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_LARGEST_LINE = 256 << 20  # bytes; a line of 4000 pixels and 500 bands of float32 takes 8 MB


@dataclass(frozen=True)
class SourceOptions:
    """Options of a source; each takes those that it needs.

    Attributes:
        columns, bands, dtype, interleave: of raw lines, which tell nothing of themselves; "bil" is (bands, columns) a line,
            "bip" (columns, bands), little-endian.
        idle: seconds without a line after which a source has ended, or is given up.
        line_rate: lines a second of the camera's clock; None where it is not known.
        cube_key: variable of a cube in a file that may have several.

    Raises:
        OptionError: numbers out of range, or another word.
    """

    columns: int | None = None
    bands: int | None = None
    dtype: str = "uint16"
    interleave: str = "bil"
    idle: float = 10.0
    line_rate: float | None = None
    cube_key: str | None = None

    def __post_init__(self) -> None:
        for name, value, most in (("columns", self.columns, 1 << 20), ("bands", self.bands, 1 << 16)):
            if value is not None and not 1 <= value <= most:
                raise OptionError(f"1 to {most} was expected", option=name, value=value)
        if self.dtype not in _DTYPES:
            raise OptionError(f"one of {', '.join(_DTYPES)} was expected", option="dtype", value=self.dtype)
        if self.interleave not in ("bil", "bip"):
            raise OptionError("bil or bip was expected", option="interleave", value=self.interleave)
        if not 0 < self.idle < 1e9:
            raise OptionError("seconds above 0 were expected", option="idle", value=f"{self.idle:g}")
        if self.line_rate is not None and not 0 < self.line_rate < 1e7:
            raise OptionError("lines a second, above 0, were expected", option="line_rate", value=f"{self.line_rate:g}")

    def raw_cube(self, name: str) -> Cube:
        """Facts of raw lines. Raises OptionError where their size is not told, or too large."""
        if self.columns is None or self.bands is None:
            raise OptionError(f"{name}: raw lines do not tell their size", use={"columns": "N", "bands": "N"})
        if self.columns * self.bands * np.dtype(self.dtype).itemsize > _LARGEST_LINE:
            raise OptionError(
                f"{name}: a line of {self.columns} x {self.bands} {self.dtype} has over {_LARGEST_LINE >> 20} MiB"
            )
        return line_cube(name, self.columns, self.bands, self.dtype)


@dataclass(frozen=True)
class Capture:
    """Lines that make one map.

    Attributes:
        cube: what they are: width, bands, dtype, and what the values mean; its height may be 1 where it is not known.
        lines: blocks `(n, width, bands)` in the cube's dtype, n from 1 on; the next one may lie in the place of the last.
        path: file that they are read from, whose references may lie beside it; None for a stream.
    """

    cube: Cube
    lines: Iterator[NDArray[Any]]
    path: Path | None = None


class Source:
    """A camera, or what stands for one. Derive from it for one of your own; `lines` runs in a thread of its own.

    Args:
        address: what stood behind its name in the text that named it.

    Attributes:
        cube: facts of the lines; `line_cube` makes it.
        line_rate: lines a second of its clock; None where it is not known.
        title: its name in summaries, where no text named it; "" for that of its class.
        stopped: set when no more lines are wanted; who waits for a line looks at it a few times a second.
    """

    cube: Cube
    title = ""
    several = False
    """True for a source of several captures, each of which makes a map."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        self.address, self.options = address, options
        self.line_rate = options.line_rate
        self.stopped = threading.Event()

    def lines(self) -> Iterator[NDArray[Any]]:
        """Blocks of lines `(n, width, bands)`, as they come; ends where the source does.

        Raises:
            SourceError: it stalls, ends within a line, or gives nonsense. Any other error than ours is turned into one.
        """
        raise NotImplementedError

    def captures(self) -> Iterator[Capture]:
        """Captures, one after the other: one of all lines, unless a source has several."""
        yield Capture(self.cube, self.lines())

    def close(self) -> None:
        """Lets go of what is held; called once, whatever happened."""

    def stalled(self) -> NoReturn:
        """Raises the error of a source that gave nothing for as long as it may."""
        raise SourceError(f"{self.address}: no line for {self.options.idle:g} s", use={"idle": "SECONDS"})


def own_error(source: str, error: Exception) -> HsiedgeError:
    """An error of ours for whatever a source raised."""
    if isinstance(error, HsiedgeError):
        return error
    reason = next(iter(str(error).splitlines()), "")
    return SourceError(f"{source}: failed ({type(error).__name__}{': ' if reason else ''}{reason})")


def line_cube(name: str, columns: int, bands: int, dtype: str, **facts: Any) -> Cube:
    """Facts of lines that come from no file; `facts` are other attributes of a Cube: wavelengths, scale, nodata, quantity.

    Raises:
        SceneError: facts that contradict each other.
    """

    def read(first: int, count: int) -> NDArray[Any]:
        raise SourceError(f"{name}: lines that have gone by cannot be read again")

    return Cube(Path(name), (1, columns), bands, np.dtype(dtype), read, **facts).checked()


def source_class(value: Any) -> type[Source]:
    """Loader of the registry: takes a class derived from Source."""
    if not (isinstance(value, type) and issubclass(value, Source)):
        raise TypeError(f"a class derived from hsiedge.live.source.Source was expected, not {value!r:.60}")
    return value


SOURCES: Registry[type[Source]] = Registry(
    "hsiedge.sources",
    "source",
    {
        "stdin": "hsiedge.live.raw:Stdin",
        "tcp": "hsiedge.live.raw:Tcp",
        "tcp-listen": "hsiedge.live.raw:TcpListen",
        "replay": "hsiedge.live.replay:Replay",
        "file": "hsiedge.live.files:GrowingFile",
        "folder": "hsiedge.live.files:Folder",
    },
    source_class,
)
"""Sources by the name before the colon of a text that names one."""


def open_source(text: str, options: SourceOptions) -> Source:
    """The source that a text names: "-", NAME:ADDRESS, FILE.py:NAME[:ADDRESS], or the path of a file or folder.

    Raises:
        OptionError: no such source, or options that it lacks.
        SourceError, SceneError: it cannot be opened.
    """
    if text == "-":
        return SOURCES["stdin"](text, options)
    own = re.fullmatch(r"(.+\.py:[A-Za-z_]\w*)(?::(.*))?", text)
    if own is not None:
        return SOURCES.find(own[1])(own[2] or "", options)
    name, colon, address = text.partition(":")
    if colon and name in SOURCES:
        return SOURCES[name](address.removeprefix("//"), options)
    if colon and not Path(text).exists():
        raise OptionError(f"{text}: no source is called {name!r}; there are {', '.join(SOURCES)}; your own: FILE.py:NAME")
    return SOURCES["folder" if Path(text).is_dir() else "file"](text, options)
