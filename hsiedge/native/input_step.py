"""The library's input step: rows of counts to a network's integers, raw ones by way of their dark and white references."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.native.library import KERNELS, address, code_of, is_available, load_library, wanted_kernels
from hsiedge.native.program import Input

_MOST_BANDS = 4096  # HS_MOST_CHANNELS
_POINTER = ctypes.c_void_p


class _Affine(ctypes.Structure):
    """`hs_affine`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "is_signed")),
        *((name, _POINTER) for name in ("low", "high", "first", "factor", "offset", "rate")),
        ("middle", ctypes.c_float),
    ]


class _References(ctypes.Structure):
    """`hs_reference`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("begin", "bands", "taken", "runs", "is_whole")),
        *((name, _POINTER) for name in ("run", "dark", "gain", "dead", "element", "weight", "fill")),
    ]


class _Raw(ctypes.Structure):
    """`hs_raw`."""

    _fields_ = [
        ("counts", _POINTER),
        ("step", ctypes.c_ssize_t),
        ("empty", _POINTER),
        ("empty_step", ctypes.c_ssize_t),
        *((name, ctypes.c_int32) for name in ("dtype", "rows", "pixels")),
    ]


class ReferenceTables:
    """Dark and white references as the library takes them; what is large in them is the caller's own arrays.

    Args:
        dark, gain: float32 `(width, bands)`; reflectance in steps of 0.0001 is `(raw - dark) * gain`.
        dead: columns and bands of dead elements `(2, n)`; between: the live bands on both sides; weights: of these, float32.
        bands: those that are taken, in their order; None for all.
        fill: uint16, a pixel without data in the bands that are taken.
    """

    def __init__(
        self,
        dark: NDArray[np.float32],
        gain: NDArray[np.float32],
        dead: NDArray[np.intp],
        between: NDArray[np.intp],
        weights: NDArray[np.float32],
        *,
        bands: NDArray[np.intp] | None,
        fill: NDArray[np.uint16],
    ) -> None:
        width, count = dark.shape
        taken = np.arange(count) if bands is None else bands
        starts = np.flatnonzero(np.diff(taken, prepend=-2) != 1)
        runs = np.stack([taken[starts], np.diff(starts, append=len(taken))], 1)
        order = np.argsort(dead[0], kind="stable")
        self.bands, self.taken, self._whole = count, len(taken), bands is None
        self._first_dead = np.searchsorted(dead[0][order], np.arange(width + 1)).astype(np.int32)
        elements = np.concatenate([dead, between])[:, order].T.astype(np.int32)
        self._tables = np.ascontiguousarray(dark, np.float32), np.ascontiguousarray(gain, np.float32)
        self._others = tuple(
            np.ascontiguousarray(entry)
            for entry in (runs.astype(np.int32), elements, weights.T[order].astype(np.float32), fill.astype(np.uint16))
        )
        self.kernels = wanted_kernels().encode()
        self._part(0)

    def _part(self, begin: int) -> None:
        dark, gain = self._tables
        runs, elements, weights, fill = self._others
        numbers = (begin, self.bands, self.taken, len(runs), self._whole)
        places = (runs, dark[begin:], gain[begin:], self._first_dead[begin:], elements, weights, fill)
        self._struct = _References(*numbers, *map(address, places))
        self.address = ctypes.addressof(self._struct)

    def part(self, columns: slice) -> ReferenceTables:
        """The tables for rows that are some columns of the whole; they share memory."""
        part = object.__new__(ReferenceTables)
        part.__dict__.update(self.__dict__)
        part._part(columns.start)
        return part

    def reflectance(
        self, rows: NDArray[Any], empty: NDArray[np.bool_] | None, out: NDArray[np.uint16] | None = None
    ) -> NDArray[np.uint16]:
        """Reflectance `(n, width, taken)` of raw rows, in steps of 0.0001; of `empty` pixels `(n, width)` the fill."""
        result = np.empty((*rows.shape[:2], self.taken), np.uint16) if out is None else out
        rows, raw = _raw(rows, empty)
        done = load_library().hs_reflectance(
            self.kernels, self.address, ctypes.addressof(raw), address(result), result.strides[0] // result.itemsize
        )
        if done:
            raise ModelError(f"the native engine makes no reflectance of rows of {rows.dtype} {rows.shape}")
        return result

    @staticmethod
    def take(dtype: np.dtype[Any], bands: int) -> bool:
        """Whether the library is here, and takes raw rows of that dtype and so many bands."""
        return code_of(dtype) != 0 and bands <= _MOST_BANDS and is_available()


class InputStep:
    """An affine, ready for the library.

    Args:
        step: of another kind than integers.
    """

    def __init__(self, step: Input) -> None:
        self._numbers = tuple(np.ascontiguousarray(entry) for entry in step.numbers)
        pointers = [address(entry) for entry in self._numbers]
        steps, floats = (pointers, [None] * 2) if len(pointers) == 4 else ([None] * 4, pointers)
        self._struct = _Affine(int(step.kind), int(step.signed), *steps, *floats, step.middle)
        self._kernels = os.environ.get(KERNELS, "").encode()

    def write(
        self,
        rows: NDArray[Any],
        out: NDArray[Any],
        references: ReferenceTables | None = None,
        empty: NDArray[np.bool_] | None = None,
    ) -> bool:
        """Writes the integers of rows `(n, width, bands)` into `out`, bytes of the same shape; False where the library cannot.

        Args:
            out: its rows may lie apart, not so its pixels.
            references: of raw rows. empty: pixels `(n, width)` of these that hold no data.
        """
        bands = out.shape[-1]
        dense = out.strides[1:] == (bands, 1) or out.size == 0
        if not (dense and code_of(rows.dtype) and bands <= _MOST_BANDS and is_available()):
            return False
        rows, raw = _raw(rows, empty)
        done = load_library().hs_integers(
            self._kernels,
            ctypes.addressof(self._struct),
            None if references is None else references.address,
            ctypes.addressof(raw),
            bands,
            address(out),
            out.strides[0],
        )
        return bool(done == 0)


def _raw(rows: NDArray[Any], empty: NDArray[np.bool_] | None) -> tuple[NDArray[Any], _Raw]:
    """Rows as the library takes them, pixel behind pixel, which have to be kept; and where they lie."""
    rows = dense_pixels(rows)
    mask = (None, 0) if empty is None else (address(empty), empty.strides[0])
    return rows, _Raw(address(rows), rows.strides[0], *mask, code_of(rows.dtype), *rows.shape[:2])


def dense_pixels(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows `(n, width, bands)`, a copy of them unless their pixels lie behind each other."""
    dense = rows.flags.aligned and rows.strides[1:] == (rows.shape[2] * rows.itemsize, rows.itemsize)
    return rows if dense else rows.copy()
