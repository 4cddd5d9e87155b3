"""A network as the native engine takes it: tensors, ops in order, and the bytes that they are sent as.

    counts -> Op(DENSE, 200 -> 64) -> tensor 1 -> Op(DENSE, 3 x 3) -> tensor 2 -> ... -> logits, added up over `pool` x `pool`

All integers are unsigned 8-bit; those of a graph that has signed ones are given 128 more, zero points too. src/hs_net.h says
what each field means, src/hs_library.c reads the bytes and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError

_MAGIC, _VERSION = 0x314E5348, 1
_HEADER_WORDS, _OP_WORDS = 16, 24


class Kind(IntEnum):
    """Kind of an op; `enum hs_kind` in C."""

    DENSE = 1
    DENSE_SUMS = 2
    DEPTHWISE = 3
    TABLE = 4
    MAX = 5
    EXTEND = 6
    ADD = 7


class InputKind(IntEnum):
    """Way in which rows become the network's integers; `hs_affine` in C."""

    INTEGERS = 0
    STEPS = 1
    FLOATS = 2


@dataclass
class Tensor:
    """Rows of a network: `positions` along the spectrum with `channels` each, a pixel; narrower than the input by `shrink`."""

    positions: int
    channels: int
    shrink: int = 0


@dataclass(frozen=True)
class Input:
    """Input step, which makes stored counts the network's integers.

    Attributes:
        signed: whether the network's integers are.
        numbers: of STEPS: uint16 low, high, first and factor, a row of bands each; of FLOATS: float32 offset and rate.
        middle: of FLOATS.
    """

    kind: InputKind
    signed: bool
    numbers: tuple[NDArray[np.uint16], ...] | tuple[NDArray[np.float32], ...] = ()
    middle: float = 0.0

    def to_bytes(self) -> bytes:
        """The numbers, one behind the other."""
        content = b"".join(np.ascontiguousarray(entry).tobytes() for entry in self.numbers)
        return content + np.float32(self.middle).tobytes() if self.kind is InputKind.FLOATS else content


@dataclass(frozen=True)
class Filters:
    """Weights of a convolution.

    Attributes:
        weights: int8 `(outputs, rows, columns, positions, channels)`; of a depthwise one, one channel.
        bias: int32 `(outputs,)`, in steps of the input's times the weights'.
        scale: float32 `(outputs,)`, that makes sums the output's integers, or logits.
        input_zero: zero point of what it reads.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    input_zero: int


@dataclass(frozen=True)
class Op:
    """One step, from one tensor (of ADD: two) to another.

    Attributes:
        kernel, dilation: in rows, columns and positions. stride: in positions.
        rows, columns: of each input, at which the output's first begins.
        channel, position: of the output, at which this op's begin.
        filters: of convolutions. table: uint8 `(256,)`, of TABLE. terms: float32 `(3,)`, of ADD.
    """

    kind: Kind
    out: int
    inputs: tuple[int, ...]
    kernel: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    stride: int = 1
    rows: tuple[int, ...] = (0,)
    columns: tuple[int, ...] = (0,)
    zero: int = 0
    channel: int = 0
    channels: int = 1
    position: int = 0
    filters: Filters | None = None
    table: NDArray[np.uint8] | None = None
    terms: NDArray[np.float32] | None = None

    @property
    def looks_around(self) -> bool:
        """True where it takes more than the pixel itself."""
        return self.kernel[:2] != (1, 1) or any(self.rows) or any(self.columns)


@dataclass(frozen=True)
class Program:
    """A network, whole.

    Attributes:
        output: tensor of the logits, or of the integers that are added up over `pool` x `pool` pixels.
        ids: label of each class, uint16; as many as values a pixel.
    """

    tensors: list[Tensor]
    ops: list[Op]
    bands: int
    radius: int
    output: int
    pool: int
    ids: NDArray[np.uint16]
    input: Input

    @property
    def macs(self) -> int:
        """Multiply-accumulates a pixel of the map, the input step and the last sums not counted."""
        return sum(op.filters.weights.size * self.tensors[op.out].positions for op in self.ops if op.filters is not None)

    def order(self) -> tuple[list[Op], int]:
        """Ops as the engine takes them, those that look at one pixel first, and how many these are."""
        around = {op.out for op in self.ops if op.looks_around}
        for op in self.ops:
            if any(index in around for index in (*op.inputs, op.out)):
                around.add(op.out)
        ops = sorted(self.ops, key=lambda op: op.out in around)
        return ops, sum(op.out not in around for op in ops)

    def to_bytes(self) -> bytes:
        """The program as `hs_load` reads it: ops in `order`."""
        ops, pointwise = self.order()
        data = _Data()
        numbers = data.add(self.input.to_bytes()), data.add(np.asarray(self.ids, "<u2").tobytes())
        words = [
            _MAGIC,
            _VERSION,
            len(self.tensors),
            len(ops),
            pointwise,
            self.bands,
            self.radius,
            self.output,
            self.pool,
            len(self.ids),
        ]
        words += [int(self.input.kind), int(self.input.signed), *numbers, 0, 0]
        for tensor in self.tensors:
            words += [tensor.positions, tensor.channels, tensor.shrink]
        for op in ops:
            words += _op_words(op, data)
        try:
            return np.array(words, "<i4").tobytes() + bytes(data.content)
        except OverflowError as error:
            raise ModelError(f"the native engine takes numbers of 32 bits ({error})") from error


class _Data:
    """Bytes that ops point into, each at a multiple of 4."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, content: bytes) -> int:
        """Adds bytes; gives their offset."""
        place = len(self.content)
        self.content += content + bytes(-len(content) % 4)
        return place


def _op_words(op: Op, data: _Data) -> list[int]:
    first, second = (*op.inputs, 0)[:2]
    pointers = [0, 0, 0, 0]
    if op.filters is not None:
        filters = op.filters
        parts = filters.weights.astype(np.int8), filters.bias.astype("<i4"), filters.scale.astype("<f4")
        pointers = [*(data.add(part.tobytes()) for part in parts), filters.input_zero]
    elif op.table is not None:
        pointers[0] = data.add(op.table.astype(np.uint8).tobytes())
    elif op.terms is not None:
        pointers[0] = data.add(op.terms.astype("<f4").tobytes())
    words = [
        int(op.kind),
        op.out,
        first,
        second,
        *op.kernel,
        *op.dilation,
        op.stride,
        *(*op.rows, 0)[:2],
        *(*op.columns, 0)[:2],
    ]
    return [*words, op.zero, op.channel, op.channels, *pointers, op.position, 0]
