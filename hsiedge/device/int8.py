"""Overflow of sums of 8-bit products in onnxruntime, by processor.

x86 without VNNI multiplies bytes with vpmaddubsw, which adds two products of an unsigned and a signed byte in 16 bits, and
stays at their end where a sum is larger:

    255 * 127 + 255 * 127 = 64,770, of which 32,767 are left

onnxruntime's kernels (MLAS, platform.cpp: MlasGemmU8S8KernelAvx2, ...Avx512Core) are made of it unless the processor has
AVX512-VNNI, AVX-VNNI or AMX, in all versions from 1.18 to 1.31; its kernels for SSE alone and for ARM add in 32 bits. Weights
of 7 bits cannot overflow: 2 * 255 * 64 = 32,640. onnxruntime's exact mode, `session.x64quantprecision`, makes weights unsigned
bytes, whose kernels add in 32 bits; asked for on a processor that has VNNI it would cost time there, too, for nothing.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

# Flags of /proc/cpuinfo by which onnxruntime (MLAS) picks its kernels; asimddp is the NEON dot product.
X86_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
ARM_SETS = ("asimd", "asimddp", "i8mm", "sve")
X86_MACHINES = ("x86_64", "AMD64", "i686")
X86_INT8_SETS = ("avx512_vnni", "avx_vnni", "amx_int8")
SEVEN_BITS = 64
"""Weights from -64 to 64 never overflow, and onnxruntime's exact mode leaves them as they are."""


def instruction_sets(cpuinfo: str) -> list[str] | None:
    """Instruction sets that matter to inference, in the text of /proc/cpuinfo; None where it lists no flags."""
    flags = re.search(r"^(?:flags|Features)[ \t]*:(.*)$", cpuinfo, re.MULTILINE)
    if flags is None or not flags[1].strip():
        return None
    present = set(flags[1].split())
    return [name for name in (*X86_SETS, *ARM_SETS) if name in present]


def overflows(machine: str, sets: Sequence[str] | None) -> bool:
    """Whether 8-bit sums overflow in onnxruntime's own mode.

    Args:
        machine: architecture of the kernel, as `platform.machine()` gives it.
        sets: of `instruction_sets`. Where they are unknown, an x86 is taken to overflow: exactness then costs time at most.
    """
    if machine not in X86_MACHINES:
        return False
    return sets is None or ("avx2" in sets and not any(name in sets for name in X86_INT8_SETS))


@lru_cache(maxsize=1)
def overflows_here() -> bool:
    """Whether 8-bit sums overflow on this machine, read once."""
    return overflows(platform.machine(), _sets_here())


@lru_cache(maxsize=1)
def has_amx_here() -> bool:
    """Whether this machine multiplies matrices of bytes in AMX, read once."""
    return "amx_int8" in (_sets_here() or ())


def _sets_here() -> list[str] | None:
    try:
        return instruction_sets(Path("/proc/cpuinfo").read_text(errors="replace"))
    except OSError:
        return None
