"""Self-test of a runtime: `python -m hsiedge.doctor.selftest ort`, the process that `probe` starts. Answers in JSON.

The runtime is imported, and runs a shipped INT8 model on seeded rows. Its labels are those that every processor gives which
multiplies integers as it should (tests/arm compares such models layer by layer on emulated Cortex-A72 and A76, and on an x86
without VNNI). Where onnxruntime needs its exact mode for that, what the mode costs is measured.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from hsiedge.errors import HsiedgeError

if TYPE_CHECKING:
    from hsiedge.benchmark.workload import Tensors, Workload

SHIPPED = {"ort": "-int8.onnx", "litert": "-int8.tflite", "tflm": "-int8.tflite", "native": "-int8-scene.onnx"}
# Digests of the shipped file and of its labels: `python -m hsiedge.doctor.selftest` prints them anew where models/ has changed.
EXPECTED = {
    "a7f67f3401b20e7e": "4d9d4e2f0bd09ada",
    "270f86222efcccd8": "bb5eff16c4801604",
    "af72b93036db620f": "95d68237ae3a05b5",
}
PIXELS, SEED = 64, 13  # a seed whose labels are nowhere close to a tie
ROUNDS = 11


def selftest(runtime: str) -> dict[str, Any]:
    """Tests a runtime in this process, and returns what `probe.probe` documents."""
    try:
        facts = _import(runtime)
    except ModuleNotFoundError as error:
        return {"missing": str(error)}
    except Exception as error:  # whatever a broken installation raises is its description
        return {"broken": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    try:
        return {**facts, **_check(runtime), **_exact_mode(runtime)}
    except HsiedgeError as error:
        return {**facts, "check": f"the shipped model was not run: {error}"}


def _import(runtime: str) -> dict[str, Any]:
    if runtime == "native":
        from hsiedge.native import library

        if not library.is_available():
            raise ModuleNotFoundError("the native engine was not built here")
        return {"version": " ".join(library.kernel_sets()), "home": str(library.LIBRARY.parent), "providers": []}
    if runtime == "litert":
        from importlib import metadata

        import ai_edge_litert
        import ai_edge_litert.interpreter  # the part that holds native code

        return {"version": metadata.version("ai-edge-litert"), "home": ai_edge_litert.__path__[0], "providers": []}
    if runtime == "tflm":
        from importlib import metadata

        import tflite_micro

        import hsiedge.runtimes.tflm  # noqa: F401 - the parts that hold native code

        return {"version": metadata.version("tflite-micro"), "home": tflite_micro.__path__[0], "providers": []}
    import onnxruntime

    home = (list(getattr(onnxruntime, "__path__", [])) or [""])[0]
    if not hasattr(onnxruntime, "InferenceSession"):
        raise ImportError(f"{home} holds no InferenceSession: what is left of an uninstalled onnxruntime")
    return {"version": onnxruntime.__version__, "home": home, "providers": onnxruntime.get_available_providers()}


def _check(runtime: str) -> dict[str, Any]:
    file, labels, arena = digests(runtime)
    arena_fact = {} if arena is None else {"arena_bytes": arena}
    if file not in EXPECTED:
        return {"check": "the shipped model ran; what it should answer is not known to this version", **arena_fact}
    return {"check": "equal" if EXPECTED[file] == labels else "different", **arena_fact}


def _exact_mode(runtime: str) -> dict[str, float]:
    """Time of the shipped model in onnxruntime's exact mode over that without it; {} where the mode is not needed."""
    from hsiedge.device import int8

    if runtime != "ort" or not int8.overflows_here():
        return {}
    import numpy as np

    from hsiedge.benchmark.workload import workload
    from hsiedge.runtimes import load
    from hsiedge.shipped import shipped

    models = [load(shipped(SHIPPED[runtime]), threads=1, fast_int8=fast) for fast in (False, True)]
    works = [workload(model, PIXELS) for model in models]
    rows = works[0].make(np.random.default_rng(SEED))
    ratios = []
    for _ in range(ROUNDS):
        exact, fast = (_seconds(work, rows) for work in works)
        ratios.append(exact / fast)
    return {"exact_mode_times": float(np.median(ratios[1:]))}  # the first is warm-up


def _seconds(work: Workload, rows: Tensors) -> float:
    start = time.perf_counter()
    work.run(rows)
    return time.perf_counter() - start


def digests(runtime: str) -> tuple[str, str, int | None]:
    """Digests of the shipped model's file, and of its labels on patches of seeded rows; the arena that it takes, in bytes."""
    import numpy as np

    from hsiedge import files
    from hsiedge.benchmark.workload import workload
    from hsiedge.runtimes import load
    from hsiedge.shipped import shipped

    path = shipped(SHIPPED[runtime])
    model = load(path, threads=1, runtime=runtime)
    work = workload(model, PIXELS)
    labels = work.run(work.make(np.random.default_rng(SEED)))
    return files.digest(path)[:16], hashlib.sha256(labels.astype("<u2").tobytes()).hexdigest()[:16], model.session.arena_bytes


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(selftest(sys.argv[1])))  # noqa: T201
    else:
        print(dict(digests(name)[:2] for name in SHIPPED))  # noqa: T201
