"""Measuring models where they run: `bench(models)`. Needs no scene, no torch and no onnx."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hsiedge.arguments import PathLike, paths_of
from hsiedge.benchmark.measure import ModelFile, Plan, Sample, measure_group, model_files
from hsiedge.benchmark.operators import profile
from hsiedge.benchmark.paired import compared, paired_comparisons
from hsiedge.benchmark.recommend import ANSWERED, in_every_runtime, recommend
from hsiedge.benchmark.results import Comparison, Report, Result, Sustained
from hsiedge.benchmark.statistics import latency
from hsiedge.benchmark.sustained import sustain
from hsiedge.benchmark.warnings import warnings_of
from hsiedge.benchmark.workload import parse_shape
from hsiedge.device.energy import mean_mj
from hsiedge.device.facts import DeviceFacts, default_threads, device_facts, throttle_state
from hsiedge.errors import OptionError
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import check_engine

_LOG = logging.getLogger(__name__)

ALL = "all"
"""Value of `runtime` for every one that is installed and takes the file."""

BATCHES = (1, 256)
RUNS, SECONDS = 20, 2.0


def bench(
    models: PathLike | Sequence[PathLike],
    *,
    runtime: str | None = None,
    provider: str | None = None,
    fast_int8: bool = False,
    net: str | None = None,
    batches: Sequence[int] = BATCHES,
    threads: int | None = None,
    runs: int = RUNS,
    seconds: float = SECONDS,
    duration: float | None = None,
    ops: bool = False,
    shapes: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Measures models on this machine, from rows in their stored dtype to label ids.

    Each model and batch gets a fresh process; the models of a batch are interleaved and compared.

    Args:
        models: an ONNX, ORT or TFLite file or an opened Model, with or without a Card, or several; checkpoints where the
            runtime is "torch" or "all".
        runtime: one of `hsiedge.runtimes.ENGINES`; None for what runs each file unasked; "all" for each that is installed and
            takes it: then labels are compared, and one is recommended.
        provider: onnxruntime's, as in `hsiedge.load`; fast_int8: likewise.
        net: FILE.py:NAME of the checkpoints' net, where it is your own.
        batches: pixels a run; for a model without a Card, its leading dimension.
        threads: intra-operator threads; None (or 0) for one a physical core that may be used.
        runs: least number of runs per model and batch.
        seconds: least time per model and batch.
        duration: seconds for which each model is then run without a pause, at the largest batch; None for not at all.
            Ctrl-C ends this part early, and the report holds what was measured until then.
        ops: whether to profile by operator as well; where onnxruntime's exact mode is needed, also what it costs.
        shapes: free dimensions of a model without a Card, "1,200,13,13" or "NAME=1,200,13,13".
        seed: of inputs and order.
        progress: called with the share done, 0 to 1.

    Raises:
        OptionError: an argument that makes no sense, a free dimension without a size, a runtime that does not take the file or
            has no exact mode to do without, or a provider that is missing or leaves nodes to the CPU.
        ModelError: a file that is no model, does not run, or is not what its Card says.
        CardError: a Card that cannot be read.
    """
    models = paths_of(models, "models")
    _check(models, batches, threads, runs, seconds, duration, shapes)
    _check_runtime(models, runtime, provider, ops, fast_int8)
    batches = list(dict.fromkeys(batches))
    every = runtime == ALL
    plan = Plan(
        runs,
        seconds,
        threads or default_threads(),
        tuple(shapes),
        seed,
        provider=provider,
        answered=ANSWERED if every else 0,
    )
    named = model_files(models, None if every else runtime, fast_int8=fast_int8, net=net)
    if net is not None and all(model.net is None for model in named):
        raise OptionError("only checkpoints need a net, and none of the models is one", option="net", value=net)
    modelled = in_every_runtime(named) if every else named
    stages = _Stages(progress, len(batches), len(modelled), duration, ops)
    names = ", ".join(model.name for model in modelled)
    _LOG.info("measuring %s at batches %s, %d threads", names, ", ".join(map(str, batches)), plan.threads)
    before = throttle_state()
    groups = [measure_group(modelled, batch, batches, plan, stages.next(stages.group)) for batch in batches]
    facts = device_facts(runtime=_runtime(groups), before=before)
    profiled = [model for model in modelled if not every or model.runtime == "ort"]
    profiles = [profile(model, batch, batches, plan) for batch in batches for model in stages.each(profiled, ops)]
    exactness = [cost for group in groups for cost in _exactness(group, plan)] if ops else []
    sustained, interrupted = _sustained(modelled, max(batches), duration, plan, stages)
    stages.end()
    return Report(
        device=facts,
        results=[_result(sample, facts, plan) for group in groups for sample in group],
        comparisons=[comparison for group in groups for comparison in paired_comparisons(group)],
        sustained=sustained,
        ops=[entry for entry in profiles if entry is not None],
        exactness=exactness,
        interrupted=interrupted,
        choice=recommend(groups) if every else None,
    )


def _exactness(group: Sequence[Sample], plan: Plan) -> list[Comparison]:
    """Each model of a group that ran in onnxruntime's exact mode, against itself without it; they take turns."""
    costs = []
    for sample in group:
        if sample.opened["exact_mode"]:
            beside = [sample.model, replace(sample.model, fast_int8=True)]
            exact, fast = measure_group(beside, sample.opened["batch"], [sample.opened["batch"]], plan, silent)
            costs.append(compared(exact, fast))
    return costs


def _sustained(
    models: Sequence[ModelFile], batch: int, seconds: float | None, plan: Plan, stages: _Stages
) -> tuple[list[Sustained], bool]:
    """The sustained runs, and whether Ctrl-C ended them early: long runs must not cost what was measured before."""
    entries: list[Sustained] = []
    if seconds is None:
        return entries, False
    try:
        for model in models:
            entries.append(sustain(model, batch, seconds, plan, stages.next(stages.sustained)))
            if entries[-1].interrupted:
                return entries, True
    except KeyboardInterrupt:
        return entries, True
    return entries, False


def _check(
    models: Sequence[Path],
    batches: Sequence[int],
    threads: int | None,
    runs: int,
    seconds: float,
    duration: float | None,
    shapes: Sequence[str],
) -> None:
    if not models:
        raise OptionError("no model to measure: name one or more .onnx or .tflite files")
    if not batches or min(batches) < 1:
        raise OptionError("must be 1 or more", option="batches", value=min(batches, default=""))
    if threads is not None and threads < 0:
        raise OptionError("must be 1 or more, or 0 for one a physical core", option="threads", value=threads)
    if runs < 1:
        raise OptionError("must be 1 or more", option="runs", value=runs)
    for name, value in (("seconds", seconds), ("duration", duration if duration is not None else 1.0)):
        if not (math.isfinite(value) and value > 0):
            raise OptionError("must be more than 0", option=name, value=value)
    for text in shapes:
        parse_shape(text)


def _check_runtime(models: Sequence[Path], runtime: str | None, provider: str | None, ops: bool, fast_int8: bool) -> None:
    if runtime == ALL:
        if provider is not None or fast_int8:
            option = "provider" if provider is not None else "fast_int8"
            raise OptionError("cannot be combined with the measurement of all runtimes", option=option, value=provider)
        return
    for path in models:
        check_engine(runtime, path, provider)
    if ops and runtime not in (None, "ort"):
        raise OptionError(f"only onnxruntime profiles by operator, not {runtime}", option="ops")


class _Stages:
    """Maps the progress of each stage to that of the whole, by the seconds it is likely to take."""

    group, profile, sustained = range(3)

    def __init__(self, progress: Progress, groups: int, models: int, duration: float | None, ops: bool) -> None:
        self._progress = progress
        self._weights = (4.0 * models, 2.0, duration or 0.0)
        self._total = groups * (self._weights[0] + models * ops * self._weights[1]) + models * self._weights[2]
        self._done = self._ahead = 0.0

    def next(self, stage: int) -> Progress:
        """Begins a stage, and returns the progress of that stage."""
        self._done = self._ahead
        start, weight = self._done, self._weights[stage]
        self._ahead = start + weight

        return lambda share: self._progress(min(1.0, (start + share * weight) / self._total))

    def each(self, models: Sequence[ModelFile], wanted: bool) -> Any:
        """The models to be profiled, each announced as its turn comes."""
        for model in models if wanted else ():
            self.next(self.profile)(0.0)
            yield model

    def end(self) -> None:
        self._progress(1.0)


def _runtime(groups: Sequence[Sequence[Sample]]) -> str | None:
    """Names of all runtimes that were used."""
    return ", ".join(dict.fromkeys(str(sample.opened["runtime"]) for group in groups for sample in group)) or None


def _result(sample: Sample, facts: DeviceFacts, plan: Plan) -> Result:
    opened, spread = sample.opened, latency(sample.all_ms)
    same = ("kind", "runtime", "provider", "precision", "batch", "input_shape", "input_dtype", "pixels_per_run")
    return Result(
        **{name: opened[name] for name in (*same, "load_ms", "first_ms", "memory_mib", "memory_source")},
        model=sample.model.name,
        file_bytes=sample.model.bytes,
        threads=plan.threads,
        latency_ms=spread,
        pixels_per_s=opened["pixels_per_run"] / spread.p50 * 1e3,
        path=str(sample.model.path),
        sha256=sample.model.sha256,
        warnings=warnings_of(sample, facts, plan.threads),
        exact_int8=opened["exact_mode"],
        arena_bytes=opened.get("arena_bytes"),
        energy_mj=mean_mj(sample.joules, len(sample.all_ms) * opened["pixels_per_run"]),
        energy_source=opened["energy_source"],
    )
