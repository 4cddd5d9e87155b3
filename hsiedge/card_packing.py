"""Packing of JSON into a short line of ASCII, for files whose every byte counts.

    z1:  and then, in base 85 (RFC 1924's letters), a raw deflate stream of the JSON and a stream of bits

Deflate starts with a dictionary of words that Cards use. A list of 16 numbers and more, such as one value a band, stands in
the JSON as {"": [exponent, k, count, first]}; the bits hold, list after list, the differences of neighbours in units of
10 ** exponent, as Rice codes: zigzag (0, -1, 1, -2, ...), then the upper bits in unary, a 0, and the lower k bits. Spectra
are smooth, so a difference takes some 9 bits, where deflated digits take 15.

Nothing is lost: what would not come back the same to the letter is not packed.
"""

from __future__ import annotations

import base64
import json
import zlib
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any

PREFIX = "z1:"
MAX_CHARS = 1 << 20  # of what is unpacked
MAX_BYTES = 4 << 20  # of JSON without its lists
MAX_NUMBERS = 1 << 19  # in its lists
MAX_BITS = 192  # of a number in units
_SHORTEST = 16
_WIDEST = 30  # between the exponents of a list

# What is likely comes last: the nearer, the fewer bits. Another dictionary is another format, with another prefix.
_DICTIONARY = (
    b'"kind":"checkpoint","scene":{"name":"salinas_a","sha256":"","official":null,"official":false,"dtype":"int16","dtype":"float32"'
    b'"units":"reflectance","wavelengths":[,"fraction":0.05,"guard":6,"kind":"blocks","kind":"masks","name":"cnn1d","name":"cnn3d",'
    b'"name":"hybridsn","teacher":"hybridsn","method":"features","method":"attention","transductive":true,"unlabelled":'
    b'"method":"magnitude","scope":"global","schedule":"zeros":"nonzero":"criterion":"l2","criterion":"taylor","criterion":"bn",'
    b'"step":"card","inside the graph, as its maker left it","per-band affine fitted on training pixels, inside the graph",'
    b'"recipe":"avx2","recipe":"tensorrt","recipe":"float16","recipe":"qat",'
    b'"x86 without VNNI: 7-bit weights, where 8-bit ones overflow","TensorRT: S8S8, symmetric, no quantized bias",'
    b'"half the file; the time of float32, into which it is cast at load","weights":"float16","activations":"int8",'
    b'"pixels drawn evenly over the cube, no labels used","onnxscript":"torchao":"onnx":"'
    b'{"kind":"patch","scene":{"name":"indian_pines","sha256":"","official":true,"bands":200,"dtype":"uint16","units":"DN",'
    b'"units":"","wavelengths":{"":[0,5,200,4"wavelengths":[],"percentiles":{"1":{"":[0,6,200,2"50":{"":[-1,7,200,]},"99":{"":[0,7,200,'
    b'"classes":[{"id":1,"name":"},{"id":2,"name":"},{"id":3,"name":"},{"id":4,"name":"},{"id":5,"name":"},{"id":6,"name":"},'
    b'{"id":7,"name":"},{"id":8,"name":"},{"id":9,"name":"},{"id":10,"name":"},{"id":11,"name":"},{"id":12,"name":"},'
    b'{"id":13,"name":"},{"id":14,"name":"},{"id":15,"name":"},{"id":16,"name":"}],"patch":7,"patch":13,"created":"2026-'
    b'"preprocess":"per-band affine fitted on training pixels, in the Card: '
    b"the runtime adapter makes the graph's integers with it\","
    b'"input_affine":null,"input_affine":{"offset":{"":[0,7,200,"]},"scale":{"":[-5,6,200,]},"dtype":"uint8","zero_point":12,"step":0.0'
    b'"net":{"name":"cnn2d","options":{"widths":[64,64,64,64,64]},"net":{"name":"dscnn","options":{},"parameters":8372,"macs_per_pixel":'
    b'"split":{"kind":"random","fraction":0.1,"seed":0,"guard":null,"train":,"validation":,"test":,"dropped":[],"digest":"'
    b'"options":{"bits":8,"control_oa":"weight_bits":8,"simulated":false,"options":{"method":"structured","ratio":0.5,"criterion":"l1",'
    b'"scope":"layer","reached":"asked":"parameters":"parameters_before":"before":"after":"removed":'
    b'"lineage":[{"step":"train","created":"2026-11-","options":{"epochs":60,"batch":64,"rate":0.002,"decay":0.01,"smoothing":0.1,'
    b'"balance":0.5,"net":"cnn2d"},"parent":null,"versions":{"hsiedge":"0.1.0","torch":"2.13.0+cpu","numpy":"2.4.6"}},'
    b'{"step":"qat","created":"2026-{"step":"prune","created":"2026-"torch-pruning":"1.6.1"}},'
    b'{"step":"distill","created":"2026-","options":{"teacher":"cnn2d","student":"dscnn","method":"logits","weight":0.2,'
    b'"temperature":4.0,"epochs":60,"batch":64,"rate":0.002,"decay":0.01,"smoothing":0.1,"balance":0.5},"parent":"","versions":{"hsiedge":"0.1.0",'
    b'"torch":"2.13.0+cpu","numpy":"2.4.6"}},{"step":"export","created":"2026-","options":{"opset":18},"parent":"","versions":{"torch":"2.13.0+cpu"}},'
    b'{"step":"quantize","created":"2026-","options":{"recipe":"default","seed":0},"parent":"","versions":{"onnxruntime":"1.31.1"}}],'
    b'"checks":[{"step":"qat","against":"the simulated net","patches":2000,"figures":{"labels_differ":1,"ties":1}}],'
    b'"checks":[{"step":"export","against":"PyTorch","patches":512,"figures":{"labels_differ":0.0,"logit_difference":e-07}}],'
    b'"quantization":null,"quantization":{"recipe":"default","options":{"title":"ARM, and x86 with VNNI or AMX",'
    b'"weights":"int8",'
    b'"activations":"uint8","per_channel":true,"seven_bit_weights":false,"symmetric_activations":false,"integer_bias":true},'
    b'"calibration":{"patches":1000,"asked":1000,"pixels":"training pixels, balanced over classes","seed":0},"float_layers":[],'
    b'"pixels":513,"agreement":99.,"oa_float":98.,"oa_int8":98.,"layer_snr_db":{}},"accuracy":[{"part":"validation","part":"test","n":8708,'
    b'"oa":98.,"aa":97.,"kappa":98.,"split":"random","seeds":[0],"oa_std":null,"aa_std":null}],"accuracy":[],"schema":1}'
)


def pack(text: str) -> str:
    """Packs `text`, JSON without spaces, into fewer characters; returns it as it is where it would not come back the same."""
    bits: list[str] = []
    short = json.dumps(_shortened(json.loads(text), bits), separators=(",", ":"))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    stream = deflate.compress(short.encode()) + deflate.flush()
    packed = PREFIX + base64.b85encode(stream + _bytes("".join(bits))).decode()
    return packed if len(packed) < len(text) and _comes_back(packed, text) else text


def unpack(text: str) -> str:
    """Unpacks what `pack` made. Memory is that of `MAX_BYTES` and `MAX_NUMBERS` at most, whatever `text` says.

    Raises:
        ValueError: not packed, not by this format, damaged, or larger than those.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"not in the format {PREFIX!r}")
    if len(text) > MAX_CHARS:
        raise ValueError(f"{len(text)} characters long")
    stream = base64.b85decode(text[len(PREFIX) :])
    inflate = zlib.decompressobj(-15, _DICTIONARY)
    try:
        short = inflate.decompress(stream, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflate.eof:
        raise ValueError(f"cut short, or more than {MAX_BYTES} bytes")
    try:
        return json.dumps(json.loads(short, object_hook=_Lists(inflate.unused_data)), separators=(",", ":"))
    except (RecursionError, OverflowError) as error:
        raise ValueError("nested too deep") from error


def _comes_back(packed: str, text: str) -> bool:
    try:
        return unpack(packed) == text
    except ValueError:
        return False


def _shortened(value: Any, bits: list[str]) -> Any:
    """Replaces the long lists of `value`; their bits are appended in the order in which the JSON will name them."""
    if isinstance(value, dict):
        return {key: _shortened(entry, bits) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= _SHORTEST and all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value):
        coded = _coded(value)
        if coded is not None:
            bits.append(coded[1])
            return {"": coded[0]}
    return [_shortened(entry, bits) for entry in value]


def _coded(values: list[float]) -> tuple[list[int], str] | None:
    """Codes a list as ([exponent, k, count, first], bits); None where that is no shorter, or would not come back the same."""
    decimals = [Decimal(json.dumps(value)).normalize().as_tuple() for value in values]
    exponents = [int(entry.exponent) for entry in decimals if any(entry.digits)] or [0]
    exponent = min(exponents)
    if max(exponents) - exponent > _WIDEST or abs(exponent) > _WIDEST:
        return None
    units = [int(Decimal(json.dumps(value)).scaleb(-exponent)) for value in values]
    if json.dumps([_number(entry, exponent) for entry in units]) != json.dumps(values):  # 1.0, which would be 1
        return None
    steps = [2 * step if step >= 0 else -2 * step - 1 for step in (b - a for a, b in pairwise(units))]
    k = min(range(64), key=lambda k: sum(step >> k for step in steps) + k * len(steps))
    if sum(step >> k for step in steps) + (k + 1) * len(steps) > 4 * len(json.dumps(values)):  # half of the digits' bytes
        return None
    return [exponent, k, len(values), units[0]], "".join(_rice(step, k) for step in steps)


def _rice(step: int, k: int) -> str:
    return "1" * (step >> k) + "0" + (f"{step & (1 << k) - 1:0{k}b}" if k else "")


def _bytes(bits: str) -> bytes:
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")


class _Lists:
    """Puts the lists back, in the order in which JSON names them. Raises ValueError where the bits do not hold them."""

    def __init__(self, data: bytes) -> None:
        self._bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
        self._at, self._left = 0, MAX_NUMBERS

    def __call__(self, entry: dict[str, Any]) -> Any:
        if entry.keys() != {""}:
            return entry
        head = entry[""]
        if not (isinstance(head, list) and len(head) == 4 and all(type(number) is int for number in head)):
            raise ValueError("a list that is described otherwise than by four numbers")
        exponent, k, count, first = head
        if abs(exponent) > _WIDEST or not 0 <= k < 64 or first.bit_length() > MAX_BITS or not 0 < count <= self._left:
            raise ValueError(f"a list of {count} numbers, exponent {exponent}, k {k}, which is not believed")
        self._left -= count
        steps = (self._step(k) for _ in range(count - 1))
        return [_number(units, exponent) for units in accumulate(steps, initial=first)]

    def _step(self, k: int) -> int:
        end = self._bits.find("0", self._at)  # of the unary part
        upper, self._at = end - self._at, end + 1 + k
        if end < 0 or self._at > len(self._bits):
            raise ValueError("fewer numbers than its lists are long")
        step = upper << k | int(self._bits[end + 1 : self._at] or "0", 2)
        return -(step + 1) // 2 if step & 1 else step // 2


def _number(units: int, exponent: int) -> float | int:
    if exponent >= 0:
        return units * int(10**exponent)
    whole, rest = divmod(units, int(10**-exponent))
    return float(f"{units}e{exponent}") if rest else whole
