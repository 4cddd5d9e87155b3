"""The native engine's library: found beside this file, loaded through a plain C interface; one wheel serves every Python."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError, OptionError
from hsiedge.native.program import Program

if TYPE_CHECKING:
    from hsiedge.native.input_step import ReferenceTables

LIBRARY = Path(__file__).with_name("libhsiedge.so")
"""The library, where it was built."""
KERNELS = "HSIEDGE_NATIVE_KERNELS"
"""Variable of the environment that names the kernel set; left out, the best that the processor has."""

_DTYPES = {"u1": 1, "i1": 2, "u2": 3, "i2": 4, "u4": 5, "i4": 6, "f4": 7, "f8": 8, "u8": 9, "i8": 10}
_MESSAGE = 200
_ENDED = -3
_LABELS = 1 << 14
_BYTES = (ctypes.c_char * 0).from_buffer
"""An array's memory as C takes it, in a fifth of the time of an address; for arrays in one piece that may be written."""


class LibraryMissingError(OptionError):
    """The native engine's library was not built, or is another processor's."""


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """The library, its functions typed. Raises LibraryMissingError."""
    if not LIBRARY.is_file():
        raise LibraryMissingError(
            "the native engine was not built here: no wheel for this processor, and no C compiler when it was installed"
        )
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise LibraryMissingError(f"the native engine cannot be loaded: {error}") from error
    pointer, size, word = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
    pushed = [pointer, pointer, ctypes.c_int, word, ctypes.c_ssize_t, pointer, pointer, ctypes.c_ssize_t]
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "hs_set_name": (ctypes.c_char_p, [ctypes.c_int]),
        "hs_load": (pointer, [ctypes.c_char_p, size, ctypes.c_char_p, ctypes.c_char_p, size]),
        "hs_free": (None, [pointer]),
        "hs_stream_bytes": (size, [pointer, word]),
        "hs_stream_new": (pointer, [pointer, word, word, word, word]),
        "hs_stream_free": (None, [pointer]),
        "hs_stream_push": (ctypes.c_int, pushed),
        "hs_stream_push_raw": (ctypes.c_int, [*pushed, pointer, pointer, ctypes.c_ssize_t]),
        "hs_stream_finish": (ctypes.c_int, [pointer, pointer, pointer, ctypes.c_ssize_t]),
        "hs_integers": (
            ctypes.c_int,
            [ctypes.c_char_p, pointer, pointer, pointer, word, pointer, ctypes.c_ssize_t],
        ),
        "hs_reflectance": (ctypes.c_int, [ctypes.c_char_p, pointer, pointer, pointer, ctypes.c_ssize_t]),
        "hs_pack": (pointer, [ctypes.c_char_p, size, pointer, ctypes.c_char_p, size]),
        "hs_packed_tensor": (None, [pointer, word, pointer]),
        "hs_packed_array": (pointer, [pointer, word, ctypes.c_int, ctypes.POINTER(size)]),
        "hs_peak_macs": (ctypes.c_double, [ctypes.c_char_p, ctypes.c_long]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name, None)
        if function is None:
            raise LibraryMissingError(
                "the native engine was built from other sources; python -m hsiedge.native.build builds it anew"
            )
        function.restype, function.argtypes = result, arguments
    return library


def is_available() -> bool:
    """Whether the library is here and loads."""
    try:
        load_library()
    except LibraryMissingError:
        return False
    return True


def kernel_sets() -> list[str]:
    """Kernel sets that this processor runs, the best first. Raises LibraryMissingError."""
    names: list[str] = []
    while (name := load_library().hs_set_name(len(names))) is not None:
        names.append(name.decode())
    return names


def wanted_kernels(kernels: str | None = None) -> str:
    """Kernel set that is named here or by $HSIEDGE_NATIVE_KERNELS, else the best. Raises OptionError: not the processor's."""
    sets = kernel_sets()
    wanted = kernels or os.environ.get(KERNELS) or sets[0]
    if wanted not in sets:
        raise OptionError(f"this processor runs {', '.join(sets)}", option=KERNELS, value=wanted)
    return wanted


def peak_macs(kernels: str, rounds: int) -> float:
    """Multiply-accumulates that `rounds` rounds of a kernel set's own instruction do: timed, the processor's peak."""
    return float(load_library().hs_peak_macs(kernels.encode(), rounds))


class Network:
    """A program, packed for a kernel set.

    Args:
        kernels: name of the set; None for $HSIEDGE_NATIVE_KERNELS, else the best that the processor has.

    Raises:
        LibraryMissingError: see `is_available`.
        OptionError: the processor has no such set.
        ModelError: the library refuses the program.
    """

    def __init__(self, program: Program, kernels: str | None = None) -> None:
        self.kernels = wanted = wanted_kernels(kernels)
        self.program = program
        self._library = load_library()
        content, message = program.to_bytes(), ctypes.create_string_buffer(_MESSAGE)
        self._handle = self._library.hs_load(content, len(content), wanted.encode(), message, _MESSAGE)
        if not self._handle:
            raise ModelError(f"the native engine refuses the network: {message.value.decode(errors='replace')}")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.hs_free(self._handle)

    def stream_bytes(self, columns: int) -> int:
        """Bytes that a stream of so many columns takes."""
        return int(self._library.hs_stream_bytes(self._handle, columns))


def pack(program: Program, layout: Sequence[int]) -> tuple[NDArray[np.int32], list[tuple[bytes, bytes, bytes]]]:
    """A program as the library packs it for a processor elsewhere, which this one need not be.

    Args:
        layout: outputs, group, pad, offset, packing of depthwise convolutions, vector; as `hs_set` has them.

    Returns:
        int32 `(tensors, 5)`: lag, ring, delay, behind and place (`hs_tensor`); of each op, in `Program.order`, the bytes of
        weights, bias and scale, in this machine's order.

    Raises:
        LibraryMissingError: see `is_available`.
        ModelError: the library refuses the program.
    """
    library, content, message = load_library(), program.to_bytes(), ctypes.create_string_buffer(_MESSAGE)
    handle = library.hs_pack(content, len(content), np.array(layout, np.int32).ctypes.data, message, _MESSAGE)
    if not handle:
        raise ModelError(f"the native engine refuses the network: {message.value.decode(errors='replace')}")
    try:
        tensors = np.empty((len(program.tensors), 5), np.int32)
        for index, numbers in enumerate(tensors):
            library.hs_packed_tensor(handle, index, numbers.ctypes.data)
        return tensors, [
            (_packed(library, handle, op, 0), _packed(library, handle, op, 1), _packed(library, handle, op, 2))
            for op in range(len(program.ops))
        ]
    finally:
        library.hs_free(handle)


def _packed(library: ctypes.CDLL, handle: int, op: int, which: int) -> bytes:
    size = ctypes.c_size_t()
    array = library.hs_packed_array(handle, op, which, ctypes.byref(size))
    return ctypes.string_at(array, size.value) if array else b""


@lru_cache(maxsize=64)
def code_of(dtype: np.dtype[Any]) -> int:
    """Number of a dtype in C; 0 of one that no network takes."""
    return _DTYPES.get(dtype.str[1:], 0) if dtype.isnative else 0


def address(array: NDArray[Any]) -> int:
    """Address of an array's first element; `array.ctypes.data` takes three times as long, which a row is too short for."""
    place: int = array.__array_interface__["data"][0]
    return place


class Stream:
    """Rows through a network, one after the other; memory is that of a few rows, however many come.

    Args:
        columns: pixels a row that are labelled.
        left, right: columns beside them that come, too, at most the radius; those that are missing are reflected.
        above: rows above the first that are reflected; 0 where the first rows that come are halo.
        references: of raw rows, which become reflectance on their way; as wide as what comes.

    Raises:
        ModelError: rows that are too narrow, or too little memory.
    """

    def __init__(
        self,
        network: Network,
        columns: int,
        *,
        left: int = 0,
        right: int = 0,
        above: int | None = None,
        references: ReferenceTables | None = None,
    ) -> None:
        program = network.program
        self._network, self._columns, self._width = network, columns, columns + left + right
        self._references, self._bands = references, program.bands if references is None else references.bands
        self._pixels = (self._width, self._bands)
        self._labels, self._used, self._labels_at = np.empty((0, columns), np.uint16), 0, 0
        self._radius, self._values = program.radius, len(program.ids)
        above = program.radius if above is None else above
        self._library = network._library
        self._push, self._push_raw = self._library.hs_stream_push, self._library.hs_stream_push_raw
        self._handle = self._library.hs_stream_new(network._handle, columns, left, right, above)
        if not self._handle:
            raise ModelError(
                f"the native engine takes no rows of {columns} pixels, of which each sees {program.radius} to every side"
            )

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.hs_stream_free(self._handle)

    def push(self, rows: NDArray[Any], empty: NDArray[np.bool_] | None = None, *, values: bool = False) -> NDArray[Any]:
        """Takes rows `(n, columns + left + right, bands)`; gives those that are due.

        Args:
            empty: pixels of raw rows that hold no data, `(n, columns + left + right)`; None where all do.

        Returns:
            uint16 labels `(m, columns)`; with `values` int32 sums `(m, columns, classes)`.

        Raises:
            ModelError: rows of another size, or of a dtype that the network does not take.
        """
        shape, dtype = rows.shape, rows.dtype
        if shape[1:] != self._pixels:
            raise ModelError(f"rows are {shape}, the network takes (n, {self._width}, {self._bands})")
        code = code_of(dtype)
        if not code:
            raise ModelError(f"the native engine takes no rows of {dtype}")
        count = shape[0]
        if rows.flags.carray:
            place: Any = _BYTES(rows.data)
        else:
            if not rows.flags.aligned or rows.strides[1:] != (self._bands * rows.itemsize, rows.itemsize):
                rows = rows.copy()
            place = address(rows)
        if values:
            out: NDArray[Any] = np.empty((count, self._columns, self._values), np.int32)
            labels, numbers, out_row = None, address(out), self._columns * self._values
        else:
            out, labels = self._room(count)
            numbers, out_row = None, self._columns
        if self._references is None:
            done = self._push(self._handle, place, code, count, rows.strides[0], labels, numbers, out_row)
        else:
            mask = (None, 0) if empty is None else (address(empty), empty.strides[0])
            raw = (self._references.address, *mask)
            done = self._push_raw(self._handle, place, code, count, rows.strides[0], labels, numbers, out_row, *raw)
        return out if done == count else out[: self._checked(done)]

    def finish(self, *, values: bool = False) -> NDArray[Any]:
        """The rows that are held back, reflected at the scene's end."""
        if values:
            out: NDArray[Any] = np.empty((self._radius, self._columns, self._values), np.int32)
            done = self._library.hs_stream_finish(self._handle, None, address(out), self._columns * self._values)
        else:
            out, labels = self._room(self._radius)
            done = self._library.hs_stream_finish(self._handle, labels, None, self._columns)
        return out[: self._checked(done)]

    def _room(self, rows: int) -> tuple[NDArray[np.uint16], int]:
        """Labels `(rows, columns)` to be written, and their address: both take long, so many rows get them together."""
        if self._used + rows > len(self._labels):
            self._labels, self._used = np.empty((max(rows, _LABELS // self._columns), self._columns), np.uint16), 0
            self._labels_at = ctypes.addressof(_BYTES(self._labels.data))
        first, self._used = self._used, self._used + rows
        return self._labels[first : self._used], self._labels_at + 2 * first * self._columns

    def _checked(self, done: int) -> int:
        if done < 0:
            reason = "rows after the end" if done == _ENDED else "rows that the network does not take"
            raise ModelError(f"the native engine: {reason}")
        return done
