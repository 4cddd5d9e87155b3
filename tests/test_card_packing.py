"""Packed JSON comes back to the letter, takes little, and takes no more memory than it may, whoever wrote it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest

from hsiedge import card_packing
from hsiedge.card_packing import pack, unpack

DICE = np.random.default_rng(0)
SPECTRUM = (3000 + np.cumsum(DICE.normal(0, 200, 200))).round()


def text_of(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def forged(short: str | bytes, bits: bytes = b"") -> str:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, card_packing._DICTIONARY)
    data = short.encode() if isinstance(short, str) else short
    return card_packing.PREFIX + base64.b85encode(deflate.compress(data) + deflate.flush() + bits).decode()


@pytest.mark.parametrize(
    "values",
    [
        SPECTRUM.astype(int).tolist(),
        (-SPECTRUM).astype(int).tolist(),
        [0] * 50,
        [7] * 16,
        [value / 10 for value in range(-40, 40)],
        (SPECTRUM / 1e5).round(5).tolist(),
        [1e-9 * value for value in range(30)],
        [10**6 * value for value in range(30)],
        [1.0, 2.0, 3.5] * 10,
        DICE.normal(size=40).astype(np.float32).tolist(),
        DICE.normal(size=40).tolist(),
        [1e300, -1e-300, 5e-324, 0.1] * 8,
        [1 << 200, -(1 << 90)] * 10,
        [1, None] * 20,
        [True, False] * 20,
        [[1, 2]] * 20,
        ["a"] * 20,
        list(range(15)),
    ],
    ids=range(18),
)
def test_lists_come_back_to_the_letter(values: list[Any]) -> None:
    text = text_of({"before": list(range(40)), "inner": [{"values": values}], "after": [0.5] * 16, "words": "x" * 300})
    packed = pack(text)
    assert unpack(packed) == text
    assert packed.isascii()
    assert not set(packed) & set('"\\\n ')
    assert pack(text) == packed


def test_a_smooth_list_takes_some_nine_bits_a_number() -> None:
    text = text_of(SPECTRUM.astype(int).tolist())
    assert len(pack(text)) < 200 * 10 / 8 * 1.25 + 40 < 0.5 * len(text)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"":[0,1,20,3]}', '{"a":{"":[1,2,3,4]},"b":"' + "x" * 500 + '"}'])
def test_what_is_short_already_or_looks_packed_is_left_alone(text: str) -> None:
    assert pack(text) == text


def test_words_of_a_card_cost_next_to_nothing() -> None:
    text = text_of({"seven_bit_weights": False, "symmetric_activations": False, "integer_bias": True})
    assert len(pack(text)) < 20


@pytest.mark.parametrize(
    ("packed", "match"),
    [
        ("", "not in the format"),
        ("{}", "not in the format"),
        (card_packing.PREFIX, "cut short"),
        (card_packing.PREFIX + '"', "bad base85"),
        (card_packing.PREFIX + "x" * card_packing.MAX_CHARS, "characters long"),
        (forged("{")[:-1], "."),
        (forged("{"), "."),
        (forged("[" * 100_000), "nested too deep|."),
        (forged('{"":[0,1,20,3]}'), "fewer numbers"),
        (forged('{"":[0,1,20,3]}', b"\xff" * 99), "fewer numbers"),
        (forged('{"":[0,1,20,3]}', b"\x00" * 3), "fewer numbers"),
        (forged('{"":[0,63,20,3]}', b"\x00" * 8), "fewer numbers"),
        (forged('{"":[0,64,20,3]}', bytes(999)), "not believed"),
        (forged('{"":[0,-1,20,3]}', bytes(999)), "not believed"),
        (forged('{"":[31,1,20,3]}', bytes(999)), "not believed"),
        (forged('{"":[-31,1,20,3]}', bytes(999)), "not believed"),
        (forged('{"":[0,1,0,3]}', bytes(999)), "not believed"),
        (forged('{"":[0,0,2,' + "9" * 99 + "]}", bytes(999)), "not believed"),
        (forged('{"":[0,1,20]}', bytes(999)), "four numbers"),
        (forged('{"":[0,1,20,true]}', bytes(999)), "four numbers"),
        (forged('{"":3}', bytes(999)), "four numbers"),
        (forged("[" + '{"":[0,0,400000,0]},' * 2 + "1]", bytes(100_000)), "not believed"),
        (forged(b"\xff\xfe"), "."),
    ],
    ids=range(23),
)
def test_what_is_damaged_or_forged(packed: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        unpack(packed)


BOMB = """
import resource, sys
from hsiedge.card import Card
from hsiedge.errors import CardError
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Card.decode(sys.stdin.read(), "bomb.onnx")
except CardError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux holds a process to its address space")
@pytest.mark.parametrize("kind", ["deflate", "numbers"])
def test_what_would_inflate_to_gigabytes_is_refused_before_memory_is_taken(kind: str) -> None:
    if kind == "deflate":  # 840 MB of spaces
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, card_packing._DICTIONARY)
        block = deflate.compress(bytes([32]) * (1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
        data = block + 800 * (deflate.compress(bytes([32]) * (1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)) + deflate.flush()
        packed = card_packing.PREFIX + base64.b85encode(data).decode()
    else:
        packed = forged('[{"":[30,0,500000,' + "9" * 50 + "]}]", bytes(70_000))
    assert len(packed) < card_packing.MAX_CHARS
    done = subprocess.run([sys.executable, "-c", BOMB], input=packed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bomb.onnx: its Card")
