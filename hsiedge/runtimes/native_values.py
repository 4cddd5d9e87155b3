"""Values of an INT8 graph on their way to ops of the native engine: integers, and floats as what they are made of.

Axes are named, not numbered: "1" (of size 1), rows "r", columns "x", positions along the spectrum "p" and channels "c".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsiedge.native.program import Op, Tensor
from hsiedge.runtimes.onnx_graph import Node

Axes = tuple[str, ...]
Sizes = tuple[int, int, int]
Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]
FUNCTIONS: dict[str, Callable[[Node], Function]] = {
    "Sigmoid": lambda node: lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": lambda node: np.tanh,
    "Relu": lambda node: lambda x: np.maximum(x, 0),
    "LeakyRelu": lambda node: lambda x: np.where(x < 0, x * np.float32(node.number("alpha", 0.01)), x),
    "Elu": lambda node: lambda x: np.where(x < 0, np.float32(node.number("alpha", 1)) * np.expm1(np.minimum(x, 0)), x),
    "Softplus": lambda node: lambda x: np.logaddexp(x, 0),
    "HardSigmoid": lambda node: (
        lambda x: np.clip(x * np.float32(node.number("alpha", 0.2)) + np.float32(node.number("beta", 0.5)), 0, 1)
    ),
    "HardSwish": lambda node: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}
"""Functions of one value, by operator: a table of 256 each."""


@dataclass(frozen=True)
class Stored:
    """Integers: a tensor, or a part of it.

    Attributes:
        signed: whether the graph has them signed; the tensor's are 128 more.
        row, column, shrink: where it begins in the tensor, and how much narrower than the input it is.
        first, last: of the tensor's positions. window: neighbouring positions that are its channels; 1 of the tensor's own.
    """

    tensor: int
    axes: Axes
    signed: bool
    row: int = 0
    column: int = 0
    shrink: int = 0
    first: int = 0
    last: int | None = None
    window: int = 1


@dataclass(frozen=True)
class Real:
    """Float values that integers stand for: (integer - zero) * scale, and functions of it."""

    stored: Stored
    scale: np.float32
    zero: int
    functions: tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...] = ()


@dataclass(frozen=True)
class Sums:
    """Result of a convolution, before it is quantized."""

    source: Real
    op: Op
    shape: Tensor
    axes: Axes
    scale: NDArray[np.float32]  # of the sums: the input's times the weights'


@dataclass(frozen=True)
class Largest:
    """Result of a maximum pool."""

    source: Real
    op: Op
    shape: Tensor
    axes: Axes


@dataclass(frozen=True)
class Joined:
    """Sum of two, or some side by side."""

    parts: tuple[Real, ...]
    axes: Axes
    adds: bool
    is_positive: bool = False  # whether a Relu follows


@dataclass(frozen=True)
class Pooled:
    """Mean over pixels around, the logits but for a factor."""

    source: Real
    pool: int
    factor: np.float32


def relu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values, those below 0 as 0."""
    return np.maximum(values, np.float32(0))


def table_of(value: Real, scale: np.float32, zero: int) -> NDArray[np.uint8]:
    """Integer of the output for each of the input."""
    numbers = (np.arange(256) - value.zero).astype(np.float32) * value.scale
    for function in value.functions:
        numbers = function(numbers)
    table: NDArray[np.uint8] = np.clip(np.rint(numbers / scale) + zero, 0, 255).astype(np.uint8)
    return table
