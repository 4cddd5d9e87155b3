"""Quantization recipes: plain data, kept in the Card of what they made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How weights and activations become integers.

    Attributes:
        title: what it is for.
        weights: "int8", or "float16", which leaves everything else as it is.
        activations: "uint8" or "int8".
        per_channel: one weight scale an output channel.
        seven_bit_weights: sums of two 8-bit products overflow the 16-bit registers of AVX2 (vpmaddubsw); 7 bits do not.
        symmetric_activations: zero point 0.
        integer_bias: int32 biases; float ones otherwise.
    """

    title: str
    weights: str = "int8"
    activations: str = "uint8"
    per_channel: bool = True
    seven_bit_weights: bool = False
    symmetric_activations: bool = False
    integer_bias: bool = True


RECIPES: dict[str, Recipe] = {
    "default": Recipe("ARM, and x86 with VNNI or AMX"),
    "avx2": Recipe("x86 without VNNI: 7-bit weights, where 8-bit ones overflow", seven_bit_weights=True),
    "tensorrt": Recipe(
        "TensorRT: S8S8, symmetric, no quantized bias",
        activations="int8",
        symmetric_activations=True,
        integer_bias=False,
    ),
    "float16": Recipe("half the file; the time of float32, into which it is cast at load", weights="float16"),
}
