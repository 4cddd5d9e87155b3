"""Draws from a hash of (seed, stream, pixel index): every machine, with any version of numpy, draws the same pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pixel_hash(seed: int, stream: int, indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """64-bit hashes of (seed, stream, index), one an index: SplitMix64 (Steele et al. 2014), chained over the three."""
    state = np.uint64(0)
    for value in (np.uint64(seed % 2**64), np.uint64(stream % 2**64)):
        state = _mix(np.atleast_1d(state ^ value))[0]
    return _mix(np.asarray(indices).astype(np.uint64) ^ state)


def ranked(seed: int, label: int, members: NDArray[np.intp]) -> NDArray[np.intp]:
    """Flat indices `members` in the order of their hashes with a seed and a label id."""
    return members[np.argsort(pixel_hash(seed, label, members), kind="stable")]


def scattered(shape: tuple[int, int], count: int, seed: int) -> NDArray[np.intp]:
    """Draws at most `count` different flat pixel indices evenly over an area; memory is that of `count`, not of the area."""
    area = shape[0] * shape[1]
    draws = pixel_hash(seed, 1 << 33, np.arange(2 * count)) % np.uint64(area)
    _, first = np.unique(draws, return_index=True)
    indices: NDArray[np.intp] = draws[np.sort(first)][:count].astype(np.intp)
    return indices


def balanced(labels: NDArray[np.uint16], pixels: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Draws at most `count` of `pixels`, as evenly over classes as there are pixels, in an order that mixes the classes."""
    flat = labels.ravel()
    place = np.empty(len(pixels), np.int64)
    for label in np.unique(flat[pixels]):
        members = np.flatnonzero(flat[pixels] == label)
        place[members[np.argsort(pixel_hash(seed, int(label), pixels[members]), kind="stable")]] = np.arange(len(members))
    return pixels[np.argsort(place, kind="stable")[:count]]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
