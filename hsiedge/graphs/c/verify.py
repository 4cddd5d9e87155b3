"""Proof of an exported file: compiled and run on real rows, its labels and integers are onnxruntime's, to the bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.device import int8
from hsiedge.errors import CheckError
from hsiedge.graphs.c.compilers import STRICT, Compiler, run
from hsiedge.graphs.c.emit import PackedNet
from hsiedge.native.program import Kind, Program
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.runtimes.int8_weights import for_exact_mode
from hsiedge.runtimes.native_graph import Lowered

_HARNESS = """#include <stdio.h>
#include <stdlib.h>
static FILE *hs_trace_file;
#define HS_TRACE(s, op, row, x, n, out) \\
    if (hs_trace_file) { \\
        const int32_t head[5] = {(int32_t)((op) - (s)->net->ops), row, x, n, n * (s)->pixel[(op)->out]}; \\
        fwrite(head, 4, 5, hs_trace_file); \\
        fwrite(out, 1, (size_t)head[4], hs_trace_file); \\
    }
#include "NAME.c"

static volatile unsigned char *hs_bottom;
__attribute__((noinline)) static void paint(void)
{
    volatile unsigned char room[16384];
    for (size_t i = 0; i < sizeof(room); i++) room[i] = 0xA5;
    hs_bottom = room;
}
__attribute__((noinline)) static int painted(void)
{
    int i = 0;
    while (i < 16384 && hs_bottom[i] == 0xA5) i++;
    return 16384 - i;
}

int main(int argc, char **argv)
{ /* width, rows, file of the trace or nothing; rows come in, labels and bytes of stack go out */
    const int width = atoi(argv[1]), height = atoi(argv[2]);
    const size_t count = (size_t)width * UPPER_BANDS;
    UPPER_COUNT *counts = malloc(count * sizeof(UPPER_COUNT));
    uint16_t *labels = malloc((size_t)width * 2);
    void *memory = malloc(UPPER_RAM_BYTES(width));
    NAME_state *state;
    int stack = 0, done = NAME_init(&state, memory, UPPER_RAM_BYTES(width), width);
    if (argc > 3) hs_trace_file = fopen(argv[3], "wb");
    if (done != UPPER_OK) return 3;
    for (int row = 0; row < height || done > 0; row++) {
        if (row < height && fread(counts, sizeof(UPPER_COUNT), count, stdin) != count) return 4;
        paint();
        done = row < height ? NAME_push_row(state, counts, labels) : NAME_finish_row(state, labels);
        if (done < 0) return 5;
        if (!hs_trace_file && painted() > stack) stack = painted();
        for (int x = 0; done > 0 && x < width; x++) printf("%d\\n", labels[x]);
    }
    printf("%d\\n", stack);
    free(memory);
    free(labels);
    free(counts);
    return hs_trace_file && fclose(hs_trace_file) ? 6 : 0;
}
"""


@dataclass(frozen=True)
class Reference:
    """Strip of a scene, and what onnxruntime makes of it.

    Attributes:
        rows: `(height, width, bands)` as stored.
        labels: uint16 `(height, width)`.
        tensors: of the program, by index: uint8 `(rows, columns, positions, channels)`, halo and all.
    """

    rows: NDArray[Any]
    labels: NDArray[np.uint16]
    tensors: dict[int, NDArray[np.uint8]]


def reference(model: Path, card: Card, lowered: Lowered, rows: NDArray[Any]) -> Reference:
    """Runs a strip, its edges reflected, in onnxruntime's exact mode, with each integer tensor as an output.

    Args:
        rows: `(height, width, bands)`, in both directions more than the net's radius.
    """
    assert card.input_affine is not None
    radius, graph = card.radius, onnx.load(model)
    halo = np.pad(rows, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    integers = InputAffine(card.input_affine).of_rows(halo)[None]
    names = {index: name for index, (name, _) in lowered.names.items() if index}  # 0 is the input
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values())
    options = onnxruntime.SessionOptions()
    if int8.overflows_here():
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        for_exact_mode(graph.SerializeToString()), options, providers=["CPUExecutionProvider"]
    )
    logits, *values = session.run(None, {session.get_inputs()[0].name: integers})
    ids = np.array([entry.id for entry in card.classes], np.uint16)
    labels = ids[np.moveaxis(logits[0], 0, -1).argmax(-1)]
    tensors = {}
    for index, value in zip(names, values):
        ordered = _ordered(value, lowered.names[index][1], lowered.program, index)
        if ordered is not None:
            tensors[index] = ordered
    return Reference(rows, labels, tensors)


def _ordered(value: NDArray[Any], axes: tuple[str, ...], program: Program, index: int) -> NDArray[np.uint8] | None:
    """A tensor of the graph as (rows, columns, positions, channels), unsigned; None where the program's has other positions."""
    for axis in sorted((i for i, name in enumerate(axes) if name == "1"), reverse=True):
        value = value.take(0, axis)
    axes = tuple(name for name in axes if name != "1")
    for name in "pc":
        if name not in axes:
            value, axes = value[..., None], (*axes, name)
    ordered = value.transpose([axes.index(name) for name in "rxpc"])
    shape = program.tensors[index]
    if ordered.shape[2:] != (shape.positions, shape.channels):
        return None
    return ordered.astype(np.int16).__add__(128).astype(np.uint8) if value.dtype == np.int8 else ordered


@dataclass(frozen=True)
class Proof:
    """Figures of a file that was run: labels, tensors and values that were compared, and bytes of stack that a row took."""

    labels: int
    tensors: int
    values: int
    stack: int


def compile_and_compare(net: PackedNet, expected: Reference, compiler: Compiler, folder: Path) -> Proof:
    """Compiles a net for this processor's plain C, and compares labels and tensors.

    Args:
        net: for a target whose layout is that of plain C.

    Raises:
        CheckError: the compiler complains, or a label or an integer differs.
    """
    strict = folder / f"{net.name}.c"
    strict.write_text(net.source())
    compiler.compile(*STRICT, "-Os", "-c", "-o", folder / f"{net.name}.o", strict)
    program = built(net, compiler, folder, "-O2", trace=True)
    trace = folder / "trace"
    height, width = expected.labels.shape
    run([program, width, height, trace], expected.rows.tobytes())
    _, stack = labels_of([built(net, compiler, folder, "-Os")], expected)
    labels, _ = labels_of([program], expected)
    check_labels(net, labels, expected)
    values = sum(_compared(net, index, theirs, ours) for index, theirs, ours in _traced(net.program, trace, expected))
    return Proof(labels.size, len(expected.tensors), values, stack)


def built(net: PackedNet, compiler: Compiler, folder: Path, *words: str, trace: bool = False) -> Path:
    """The harness around a net, compiled; the program."""
    source, program = folder / "harness.c", folder / f"harness{'-trace' if trace else ''}{''.join(words)}"
    (folder / f"{net.name}.c").write_text(net.source(trace=trace))
    source.write_text(re.sub("NAME|UPPER", lambda word: net.name if word[0] == "NAME" else net.name.upper(), _HARNESS))
    compiler.compile("-std=c99", *words, "-o", program, source)
    return program


def labels_of(command: Sequence[object], expected: Reference, *, big_endian: bool = False) -> tuple[NDArray[np.uint16], int]:
    """Labels that a harness gives, and the bytes of stack that it took."""
    height, width = expected.labels.shape
    rows = expected.rows.byteswap() if big_endian else expected.rows
    lines = run([*command, width, height], rows.tobytes()).split()
    if len(lines) != height * width + 1:
        raise CheckError(f"the exported C gave {len(lines) - 1} labels of {height * width}")
    return np.array(lines[:-1], np.uint16).reshape(height, width), int(lines[-1])


def check_labels(net: PackedNet, labels: NDArray[np.uint16], expected: Reference) -> None:
    """Raises CheckError where a label differs."""
    differ = int((labels != expected.labels).sum())
    if differ:
        raise CheckError(f"the exported C of {net.name} is not the net: {differ} of {labels.size} labels differ")


def _traced(program: Program, trace: Path, expected: Reference) -> list[tuple[int, NDArray[np.uint8], NDArray[np.int16]]]:
    """Tensors as they should be, and as ops computed them; -1 where none did."""
    ops, _ = program.order()
    ours = {index: np.full(theirs.shape, -1, np.int16) for index, theirs in expected.tensors.items()}
    data, at = trace.read_bytes(), 0
    while at < len(data):
        index, row, x, n, size = (int(number) for number in np.frombuffer(data, np.int32, 5, at))
        op, at = ops[index], at + 20
        values = np.frombuffer(data, np.int8, size, at).reshape(n, -1)
        at += size
        if op.out not in ours or op.kind is Kind.DENSE_SUMS:
            continue
        shape = program.tensors[op.out]
        positions, channels = shape.positions, shape.channels
        stride = 1 if channels == 1 else -(-channels // 4) * 4
        pixels = values[:, : positions * stride].reshape(n, positions, stride)[..., op.channel : op.channel + op.channels]
        place = ours[op.out][row, x : x + n, :, op.channel : op.channel + op.channels]
        place[...] = pixels.astype(np.int16)[: len(place)] + 128
    return [(index, theirs, ours[index]) for index, theirs in expected.tensors.items()]


def _compared(net: PackedNet, index: int, theirs: NDArray[np.uint8], ours: NDArray[np.int16]) -> int:
    """Number of values that were compared. Raises CheckError where one differs, or none was computed."""
    is_there = ours >= 0
    differ = int((ours[is_there] != theirs[is_there]).sum())
    if differ or not is_there.any():
        raise CheckError(
            f"the exported C of {net.name} is not the net: {differ} of {is_there.sum()} integers of tensor {index} differ"
        )
    return int(is_there.sum())
