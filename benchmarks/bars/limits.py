"""How fast one core can be at all: multiply-accumulates a second, and bytes a second from and to memory, both measured.

The peak of 8-bit multiply-accumulates is that of the processor's own instruction for them, run alone in a loop by the native
engine's library (a matrix product of a runtime is no limit: kernels have passed it by 20 % where it is made exact); without the
library, and in float32, it is that of one large matrix product in onnxruntime. The theoretical one stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bars.turns import one_core
from hsiedge.device.facts import DeviceFacts
from hsiedge.native.library import is_available, kernel_sets, peak_macs

SIDE = 1536  # of the matrices: 7 MiB in float32, far more work than there are bytes to move
ROUNDS_OF_PEAK = 1 << 18  # of twelve instructions: some milliseconds
APART = 1.9  # times one thread's peak in two: they have a core each
BYTES = 1 << 29  # of the array that is copied: beyond any cache

# 8-bit multiply-accumulates a cycle: lanes of a vector instruction, by the ports that take it (Intel Optimization Reference
# Manual: VPDPBUSD on 512 bits is 64 of them, on ports 0 and 5 of server cores; 256 bits on two ports; ARM's SDOT, 16 on two).
PER_CYCLE = {"avx512_vnni": 128, "avx_vnni": 64, "asimddp": 32}
ZEN4 = {"vendor_id": "AuthenticAMD", "cpu family": "25"}  # 512 bits go through in halves (AMD, Optimization Guide for Zen 4)


def limits(facts: DeviceFacts, seconds: float = 0.5) -> dict[str, Any]:
    """GMAC/s of 8-bit integers and of float32, GB/s of a copy, and the theoretical GMAC/s at the clock the kernel tells."""
    with one_core():
        peaks = {
            "int8_gmac_s": instruction_peak(seconds) or SIDE**3 / _fastest(_product(np.uint8), seconds) / 1e9,
            "float32_gmac_s": SIDE**3 / _fastest(_product(np.float32), seconds) / 1e9,
            "copy_gb_s": 2 * BYTES / _fastest(_copy(), seconds) / 1e9,
        }
    return {**peaks, "theory": theory(facts)}


def instruction_peak(seconds: float) -> float:
    """GMAC/s of 8-bit integers that the best kernel set's own instruction does; 0 where the library is not here."""
    if not is_available():
        return 0.0
    kernels = kernel_sets()[0]
    rounds = ROUNDS_OF_PEAK
    return peak_macs(kernels, rounds) / _fastest(lambda: peak_macs(kernels, rounds), seconds) / 1e9


def worth_of_two(rounds: int = 32 * ROUNDS_OF_PEAK) -> float:
    """Times as much as in one thread that the instruction does in two: 2 on two cores, some 1 on two threads of one.

    A virtual machine's two cores may be the one or the other, as its host places them from second to second.
    """
    kernels = kernel_sets()[0]

    def seconds(threads: int) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: peak_macs(kernels, rounds), range(threads)))
        return time.perf_counter() - start

    return 2 * seconds(1) / seconds(2)


def theory(facts: DeviceFacts) -> dict[str, Any] | None:
    """The widest 8-bit dot product that the CPU has, its multiply-accumulates a cycle, and the clock; None where unknown."""
    name = next((entry for entry in PER_CYCLE if entry in (facts.instruction_sets or ())), None)
    if name is None:
        return None
    halved = name == "avx512_vnni" and ZEN4.items() <= _cpuinfo().items()
    macs, clock = PER_CYCLE[name] // (2 if halved else 1), facts.frequency_max_mhz or facts.frequency_mhz
    return {
        "instruction": name,
        "macs_a_cycle": macs,
        "mhz": clock,
        "gmac_s": None if clock is None else macs * clock / 1e3,
        "amx": "amx_int8" in (facts.instruction_sets or ()),
    }


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What the kernel says of the first core; nothing where it says it otherwise."""
    try:
        lines = path.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _product(dtype: type[np.generic]) -> Callable[[], object]:
    """One product of two matrices, the second a constant, as the weights of a layer are."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng, floats = np.random.default_rng(0), dtype is np.float32
    weights: NDArray[Any] = rng.integers(-127, 128, (SIDE, SIDE)).astype(np.float32 if floats else np.int8)
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT) if floats else (TensorProto.UINT8, TensorProto.INT32)
    graph = helper.make_graph(
        [helper.make_node("MatMul" if floats else "MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", kinds[0], [SIDE, SIDE])],
        [helper.make_tensor_value_info("y", kinds[1], [SIDE, SIDE])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"a": rng.integers(0, 256, (SIDE, SIDE)).astype(dtype)}
    return lambda: session.run(None, inputs)


def _copy() -> Callable[[], object]:
    source, target = np.ones(BYTES, np.uint8), np.zeros(BYTES, np.uint8)
    return lambda: np.copyto(target, source)


def _fastest(once: Callable[[], object], seconds: float) -> float:
    """The least seconds that a call took: of a limit, the best is asked for."""
    once()
    end, best, done = time.perf_counter() + seconds, float("inf"), 0
    while done < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        once()
        best, done = min(best, time.perf_counter() - start), done + 1
    return best
