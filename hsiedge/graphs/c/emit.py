"""The text of an exported net: its source, its header, and a test with rows in and labels out.

Nothing that a model file says goes into the text but as a number or as an escaped ASCII string literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError
from hsiedge.graphs.c.source import engine_source
from hsiedge.graphs.c.targets import Target
from hsiedge.native.library import pack
from hsiedge.native.program import InputKind, Kind, Op, Program
from hsiedge.runtimes.c_file import CARD, literals

_C_TYPES = {
    "uint8": "uint8_t",
    "int8": "int8_t",
    "uint16": "uint16_t",
    "int16": "int16_t",
    "uint32": "uint32_t",
    "int32": "int32_t",
    "uint64": "uint64_t",
    "int64": "int64_t",
    "float32": "float",
    "float64": "double",
}
_DTYPES = {"uint8": "HS_U8", "int8": "HS_I8", "uint16": "HS_U16", "int16": "HS_I16", "uint32": "HS_U32", "int32": "HS_I32"}
_DTYPES |= {"float32": "HS_F32", "float64": "HS_F64", "uint64": "HS_U64", "int64": "HS_I64"}
_KEYWORDS = frozenset(
    """
    alignas alignof and asm auto bitand bitor bool break case catch char class compl concept const constexpr continue default
    delete do double else enum explicit export extern false float for friend goto if inline int long main mutable namespace new
    not nullptr operator or private protected public register requires restrict return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while xor
    """.split()  # noqa: SIM905
)
_HELD, _ROWS = 1, 2
_STATE_INTEGERS, _STATE_POINTERS = 8, 3  # of hs_state, beside its arrays: net, sums, running


def checked_name(name: str) -> str:
    """The name as an identifier of C and C++ that no other of the file begins with. Raises OptionError where it is none."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) or name in _KEYWORDS or f"{name}_".lower().startswith("hs_"):
        raise OptionError("letters, digits and _ are expected, a letter first, and no word of C", option="name", value=name)
    return name


@dataclass(frozen=True)
class PackedNet:
    """A program, packed for a processor, and what the text says of it.

    Attributes:
        name: that its functions begin with.
        dtype: numpy name of the rows' dtype.
        card: the Card's text. note: on how it was verified. classes: names, in the order of the program's ids.
    """

    program: Program
    target: Target
    name: str
    dtype: str
    card: str
    classes: list[str]
    version: str
    note: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name)
        if self.dtype not in _C_TYPES:
            raise OptionError(f"C takes rows of {', '.join(_C_TYPES)}, not of {self.dtype}")
        tensors, arrays = pack(self.program, self.target.layout.numbers)
        object.__setattr__(self, "_tensors", tensors)
        object.__setattr__(self, "_arrays", arrays)

    # ---- memory ----

    def _pixel(self, index: int) -> int:
        """Values of a pixel of a tensor; `hs_pixel`."""
        tensor, layout = self.program.tensors[index], self.target.layout
        if index == self.program.output and self.program.ops[-1].kind is Kind.DENSE_SUMS:
            return _up(tensor.channels, 16) * 4 // layout.act_bytes
        stride = 1 if tensor.channels == 1 else _up(tensor.channels, layout.pad)
        return _up(tensor.channels if tensor.positions == 1 else tensor.positions * stride, layout.pad)

    def _rows(self, index: int) -> tuple[int, int]:
        """Bytes of a tensor's rows: fixed, and a column's; `hs_tensor_bytes`, rounded up."""
        layout, program = self.target.layout, self.program
        _, ring, _, behind, place = (int(number) for number in self._tensors[index])  # type: ignore[attr-defined]
        pixel, beside = self._pixel(index), 2 * program.radius - program.tensors[index].shrink
        if place not in (_HELD, _ROWS):
            return ((layout.piece + layout.pixels) * pixel + layout.spare + layout.align) * layout.act_bytes, 0
        if layout.is_lean and place == _ROWS and index != program.output:
            window = layout.piece + layout.pixels + behind
            return ((ring - 1) * beside + 2 * window) * pixel + layout.spare + layout.align, (ring - 1) * pixel
        fixed = ring * ((beside + layout.pixels) * pixel + layout.spare + layout.align)
        return fixed * layout.act_bytes, ring * pixel * layout.act_bytes

    def _sums(self) -> tuple[int, int]:
        program, pixel = self.program, self._pixel(self.program.output)
        if program.pool == 1:
            return 0, 0
        beside = 2 * program.radius - program.tensors[program.output].shrink + 1
        columns = (1, 0) if self.target.layout.is_lean else (beside, 1)
        return columns[0] * pixel * 2 + self.target.layout.align, columns[1] * pixel * 2

    @property
    def state(self) -> tuple[int, int]:
        """Bytes of the state that are no pointers, and its pointers."""
        tensors, lean = len(self.program.tensors), self.target.layout.is_lean
        integers = _STATE_INTEGERS + tensors + (1 + tensors if lean else 0)
        return 4 * integers + 16, _STATE_POINTERS + 2 * tensors + self.runs + 4

    def ram(self, width: int, pointer: int) -> int:
        """Bytes that a stream of so many columns takes, at most, where pointers have so many."""
        fixed, column = self.memory
        integers, pointers = self.state
        return integers + fixed + pointers * pointer + column * width

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes beside the state: fixed, and a column's."""
        parts = [*(self._rows(index) for index in range(len(self.program.tensors))), self._sums()]
        return sum(part[0] for part in parts) + 4 * self.target.layout.align, sum(part[1] for part in parts)

    @property
    def runs(self) -> int:
        """Pointers that the largest kernel takes."""
        return max(op.kernel[0] * op.kernel[1] for op in self.program.ops)

    @property
    def constants(self) -> int:
        """Bytes of weights, biases, scales, tables and the input step."""
        arrays = sum(len(part) for index in range(len(self.program.ops)) for part in self._packed(index))
        tables = sum(256 for op in self.program.ops if op.kind is Kind.TABLE)
        return arrays + tables + sum(entry.nbytes for entry in self.program.input.numbers) + self.program.ids.nbytes

    def _packed(self, index: int) -> tuple[bytes, bytes, bytes]:
        """Weights, bias and scale; of plain C without what vectors read behind them."""
        weights, bias, scale = self._arrays[index]  # type: ignore[attr-defined]
        op = self.program.order()[0][index]
        if self.target.layout.is_lean and op.filters is not None:
            wide = 4 * _up(op.channels, 4)
            taps = op.kernel[0] * op.kernel[1]
            weights = weights[: taps * wide // 4] if op.kind is Kind.DEPTHWISE else weights
            bias, scale = bias[:wide], scale[:wide]
        return weights, bias, scale

    # ---- text ----

    @property
    def _note(self) -> str:
        return f" ({self.note})" if self.note else ""

    def header(self) -> str:
        """The header, for C and C++."""
        fixed, column = self.memory
        integers, pointers = self.state
        n, upper = self.name, self.name.upper()
        return f"""/* {n}: labels rows of a hyperspectral scene as they come. Made by hsiedge {self.version}{self._note}.

   A stream lies in memory that the caller gives, whole, and nothing else is written to; several may run. A pixel sees
   {upper}_RADIUS rows and columns to each side: labels come so many rows late, and the last of them when the scene ends. */
#ifndef {upper}_H
#define {upper}_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {upper}_BANDS = {self.program.bands}, {upper}_CLASSES = {len(self.classes)}, {upper}_RADIUS = {self.program.radius} }};
enum {{ {upper}_OK = 0, {upper}_BAD = -1, {upper}_SMALL = -2, {upper}_ENDED = -3 }};
#define {upper}_COUNT {_C_TYPES[self.dtype]} /* of what a row is made: as many as bands, pixel by pixel */

/* Bytes that a stream of rows of so many pixels takes. */
#define {upper}_RAM_BYTES(width) ((size_t){integers + fixed} + {pointers} * sizeof(void *) + (size_t){column} * (size_t)(width))

typedef struct {n}_state {n}_state;

/* Begins a stream in `bytes` of `memory`, of any alignment: {upper}_OK; {upper}_SMALL where that is too little;
   {upper}_BAD where rows are not wider than {upper}_RADIUS pixels, or wider than 1048576. */
int {n}_init({n}_state **state, void *memory, size_t bytes, int32_t width);

/* Takes a row: 1 where a row of labels was written, 0 where none is due yet, {upper}_ENDED behind the end. */
int {n}_push_row({n}_state *state, const {upper}_COUNT *counts, uint16_t *labels);

/* Ends the scene: 1 where another row of labels was written, 0 when there is none any more; {upper}_BAD where
   no more rows came than {upper}_RADIUS. */
int {n}_finish_row({n}_state *state, uint16_t *labels);

/* Names of the classes, and the Card; a linker that collects sections leaves them out where they are not used. */
extern const uint16_t {n}_class_ids[{upper}_CLASSES];
extern const char *const {n}_class_names[{upper}_CLASSES];
extern const char *const {n}_card[]; /* parts of one text; NULL behind the last */

#ifdef __cplusplus
}}
#endif
#endif
"""

    def source(self, *, trace: bool = False) -> str:
        """The source, whole: it needs no other file. With `trace`, HS_TRACE is called with what each op computed."""
        target = self.target
        macros: dict[str, bool | None] = {"HS_EXPORTED": True, "HS_TRACE": trace, "HS_LEAN": target.layout.is_lean}
        if not target.layout.is_lean:
            macros.update(HS_OWN_STEPS=None, HS_OWN_TABLE=None)  # which kernels define
        choice = "" if target.condition or not target.kernels else f"#define {target.kernels}\n"
        if target.kernels:
            macros[target.kernels] = None if target.condition else True
        if target.condition:
            choice = f"#if {target.condition}\n#define {target.kernels}\n#endif\n"
        include = {"HS_SET_NEON": "arm_neon.h", "HS_SET_DOT": "arm_neon.h", "HS_SET_AVX2": "immintrin.h"}.get(target.kernels)
        parts = [
            self.header(),
            "#include <string.h>\n" + (f"#include <{include}>\n" if include else ""),
            _FLOATS,
            self._limits(),
            choice + engine_source(macros),
            self._data(),
            self._interface(),
            self._words(),
        ]
        return "\n".join(parts)

    def _limits(self) -> str:
        program = self.program
        kinds = sum(1 << int(kind) for kind in {op.kind for op in program.ops})
        return (
            f"#define HS_EXPORTED\nenum {{ HS_MOST_TENSORS = {len(program.tensors)}, HS_MOST_OPS = {len(program.ops)}, "
            f"HS_MOST_RUNS = {self.runs} }};\n"
            f"#define HS_USES(kind) ({kinds} >> (kind) & 1)\n"
            f"#define HS_READS(kind) ((kind) == {int(program.input.kind)})\n"
            f"#define HS_TAKES(dtype) ((dtype) == {_DTYPES[self.dtype]})\n"
        )

    def _data(self) -> str:
        program, text = self.program, []
        ops, pointwise = program.order()
        for index, op in enumerate(ops):
            text += self._arrays_of(index, op)
        names, kind = [], program.input.kind
        for name, entry in zip("abcd", program.input.numbers):
            names.append(f"hs_input_{name}")
            text.append(_array("uint16_t" if kind is InputKind.STEPS else "float", names[-1], entry))
        names += ["NULL"] * (4 - len(names))
        fields = [*names, "NULL", "NULL"] if kind is InputKind.STEPS else ["NULL"] * 4 + names[:2]
        affine = f"{{{int(kind)}, {int(program.input.signed)}, {', '.join(fields)}, {_float(program.input.middle)}}}"
        text.append(_array("uint16_t", f"{self.name}_class_ids", program.ids, static=False))
        tensors = []
        for tensor, packed in zip(program.tensors, self._tensors):  # type: ignore[attr-defined]
            lag, ring, delay, behind, place = (int(number) for number in packed)
            tensors.append(
                f"{{{tensor.positions}, {tensor.channels}, {tensor.shrink}, {lag}, {ring}, {delay}, {behind}, {place}}}"
            )
        rows = [_op(index, op) for index, op in enumerate(ops)]
        numbers = (
            f"{len(tensors)}, {len(rows)}, {pointwise}, {program.bands}, {program.radius}, {program.output}, {program.pool}"
        )
        text.append(
            "static const hs_net hs_this_net = {\n    {"
            + ",\n     ".join(tensors)
            + "},\n    {"
            + ",\n     ".join(rows)
            + "},\n    "
            f"{numbers}, {len(program.ids)},\n    {self.name}_class_ids, {affine}}};\n"
        )
        return "\n".join(text)

    def _arrays_of(self, index: int, op: Op) -> list[str]:
        if op.kind is Kind.TABLE:
            return [_array("uint8_t", f"hs_table_{index}", op.table)]
        if op.kind is Kind.ADD:
            return [_array("float", f"hs_scale_{index}", op.terms)]
        if op.filters is None:
            return []
        weights, bias, scale = self._packed(index)
        is_pairs = op.kind is Kind.DEPTHWISE and self.target.layout.packing == 1
        return [
            _array(
                "int16_t" if is_pairs else "int8_t",
                f"hs_weights_{index}",
                np.frombuffer(weights, np.int16 if is_pairs else np.int8),
            ),
            _array("int32_t", f"hs_bias_{index}", np.frombuffer(bias, np.int32)),
            _array("float", f"hs_scale_{index}", np.frombuffer(scale, np.float32)),
        ]

    def _interface(self) -> str:
        n, upper = self.name, self.name.upper()
        integers, pointers = self.state
        return f"""/* ---- what a caller sees ---- */
typedef char {n}_ram_is_enough[sizeof(hs_state) <= {integers} + {pointers} * sizeof(void *) ? 1 : -1];

int {n}_init({n}_state **state, void *memory, size_t bytes, int32_t width)
{{
    if (state == NULL || memory == NULL || width <= {upper}_RADIUS || width > 1 << 20) return {upper}_BAD;
    *state = NULL;
    if (bytes < hs_bytes(&hs_this_net, width)) return {upper}_SMALL;
    *state = ({n}_state *)(void *)hs_start(&hs_this_net, memory, bytes, width, 0, 0, {upper}_RADIUS);
    return {upper}_OK;
}}

int {n}_push_row({n}_state *state, const {upper}_COUNT *counts, uint16_t *labels)
{{
    hs_sink sink = {{labels, NULL, NULL}};
    if (state == NULL || counts == NULL || labels == NULL) return {upper}_BAD;
    return hs_push_row((hs_state *)(void *)state, counts, {_DTYPES[self.dtype]}, &sink);
}}

int {n}_finish_row({n}_state *state, uint16_t *labels)
{{
    hs_sink sink = {{labels, NULL, NULL}};
    if (state == NULL || labels == NULL) return {upper}_BAD;
    return hs_finish_row((hs_state *)(void *)state, &sink);
}}
"""

    def _words(self) -> str:
        """Names of the classes and the Card, as literals."""
        names = ",\n    ".join(" ".join(literals(name)) for name in self.classes)
        card = ",\n    ".join([*literals(self.card), "NULL"])
        return (
            f"const char *const {self.name}_class_names[{self.name.upper()}_CLASSES] = {{\n    {names}}};\n"
            f"\nconst char *const {self.name}_card[] = {{ {CARD}\n    {card}}};\n"
        )

    def test(self, rows: NDArray[Any], labels: NDArray[np.uint16]) -> str:
        """A program that gives rows to the net and compares its labels; exit code 0 where they are these.

        Args:
            rows: `(height, width, bands)`.
            labels: `(height, width)`.
        """
        n, upper, (height, width, _) = self.name, self.name.upper(), rows.shape
        return f"""/* Rows in, labels out: {n}_test() gives the number of labels that differ, or a negative code. */
#include "{n}.h"
#include <math.h>
#ifndef {upper}_NO_MAIN
#include <stdio.h>
#endif

enum {{ HS_TEST_WIDTH = {width}, HS_TEST_HEIGHT = {height} }};
int {n}_test(void);

{_array(f"{upper}_COUNT", "hs_test_rows", rows)}
{_array("uint16_t", "hs_test_labels", labels)}
static unsigned char hs_test_memory[{upper}_RAM_BYTES({width})];

int {n}_test(void)
{{
    static uint16_t labels[{width}];
    {n}_state *state;
    int done = {n}_init(&state, hs_test_memory, sizeof(hs_test_memory), {width}), rows = 0, differ = 0;
    if (done != {upper}_OK) return done;
    for (int row = 0; row < {height} || done > 0; row++) {{
        const {upper}_COUNT *counts = hs_test_rows + (size_t)(row < {height} ? row : 0) * {width} * {upper}_BANDS;
        done = row < {height} ? {n}_push_row(state, counts, labels) : {n}_finish_row(state, labels);
        if (done < 0) return done;
        for (int x = 0; done > 0 && x < {width}; x++) differ += labels[x] != hs_test_labels[rows * {width} + x];
        rows += done;
    }}
    return rows == {height} ? differ : {upper}_BAD;
}}

#ifndef {upper}_NO_MAIN
int main(void)
{{
    const int differ = {n}_test();
    printf("{n}: %d of {height * width} labels differ\\n", differ);
    return differ != 0;
}}
#endif
"""


_FLOATS = """/* Products are rounded before they are added to: each operation by itself, as on every other processor. */
#if defined(__FAST_MATH__)
#error "-ffast-math changes results"
#elif defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
"""


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _op(index: int, op: Op) -> str:
    first, second = (*op.inputs, 0)[:2]
    weights = f"hs_weights_{index}, hs_bias_{index}" if op.filters is not None else "NULL, NULL"
    scale = f"hs_scale_{index}" if op.filters is not None or op.terms is not None else "NULL"
    table = f"hs_table_{index}" if op.table is not None else "NULL"
    places = f"{op.stride}, {_braced((*op.rows, 0)[:2])}, {_braced((*op.columns, 0)[:2])}"
    numbers = f"{op.zero}, {op.channel}, {op.channels}, {op.position}"
    shape = f"{int(op.kind)}, {op.out}, {{{first}, {second}}}, {_braced(op.kernel)}, {_braced(op.dilation)}"
    return f"{{{shape}, {places}, {numbers}, {weights}, {scale}, {table}}}"


def _braced(numbers: Iterable[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


def _float(value: float | np.float32) -> str:
    """A float32 as C reads it back, to the bit."""
    if not np.isfinite(value):
        return _not_finite(float(value))
    text = f"{float(np.float32(value)):.9g}"
    return (text if any(mark in text for mark in ".en") else text + ".0") + "f"


def _not_finite(value: float) -> str:
    """NaN or an infinity, as math.h has them."""
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


def _array(kind: str, name: str, values: object, *, static: bool = True) -> str:
    numbers = np.asarray(values).ravel()
    if numbers.dtype.kind == "f":
        words = (
            [_float(value) for value in numbers]
            if numbers.dtype == np.float32
            else [repr(float(value)) if np.isfinite(value) else _not_finite(float(value)) for value in numbers]
        )
    else:
        mark = {"u4": "U", "u8": "ULL", "i8": "LL"}.get(numbers.dtype.str[1:], "")
        words = [f"{value}{mark}" for value in numbers.tolist()]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 120:
            lines.append(line)
            line = ""
        line += word + ","
    body = "\n".join([*lines, line.rstrip(",")])
    return f"{'static ' if static else ''}const {kind} {name}[{numbers.size}] = {{\n{body}}};\n"
