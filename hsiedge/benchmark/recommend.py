"""`--runtime all`: the same files in every runtime that is installed, and the one to take on this device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsiedge.benchmark.measure import ModelFile, Sample
from hsiedge.benchmark.paired import compared
from hsiedge.benchmark.results import Agreement, Comparison, Recommendation
from hsiedge.runtimes import ENGINES

ANSWERED = 1024
"""Pixels whose labels are compared, at least, at each batch."""
TIE, INTEGER_TIE = 1e-4, 1e-2
"""Margins that count as ties, as shares of the range of the logits. Runtimes add floats in another order, and round integers of
eight bits in another way between layers: a step of these is 1/255 of their range, and two steps and a half may move a logit.
All else has to be equal."""


def in_every_runtime(models: Sequence[ModelFile]) -> list[ModelFile]:
    """Each model once for each installed runtime that takes it and is for this machine; the one that runs it unasked first."""
    variants = []
    for model in models:
        engines = [name for name, engine in ENGINES.items() if model.path.suffix in engine.suffixes and engine.is_for_here]
        # Where none is installed, opening the file says so.
        installed = [name for name in engines if ENGINES[name].installed and ENGINES[name].takes(model.path)] or engines[:1]
        variants += [replace(model, name=f"{model.name} ({name})", runtime=name) for name in installed] or [model]
    return variants


def recommend(groups: Sequence[Sequence[Sample]]) -> Recommendation:
    """Recommends a model, runtime and batch for this device, from samples that were asked for `ANSWERED` labels."""
    agreements = _summed([_agreement(sample, group) for group in groups for sample in group if _answered(sample)])
    agreeing = {entry.model for entry in agreements if not entry.differ}
    candidates = [(sample, group) for group in groups for sample in group if sample.model.name in agreeing]
    recommendation = Recommendation(
        [entry for entry in agreements if entry.model != entry.reference],
        {
            name: engine.extra
            for name, engine in ENGINES.items()
            if engine.is_for_here and engine.extra and not engine.installed
        },
    )
    if not candidates:
        return recommendation
    best, group = max(candidates, key=lambda entry: _pace(entry[0]))
    return replace(
        recommendation,
        model=best.model.name,
        runtime=best.opened["runtime"],
        batch=best.opened["batch"],
        pixels_per_s=best.opened["pixels_per_run"] / float(np.median(best.all_ms)) * 1e3,
        margin=_margin(best, [sample for sample in group if sample.model.name in agreeing and sample is not best]),
    )


def _agreement(sample: Sample, group: Sequence[Sample]) -> Agreement:
    reference = next(entry for entry in group if entry.model.path == sample.model.path and _answered(entry))
    assert sample.answers is not None
    assert reference.answers is not None
    tie = INTEGER_TIE if sample.opened["precision"].startswith("int") else TIE
    other = np.array(sample.answers["labels"]) != np.array(reference.answers["labels"])
    decided = np.array(reference.answers["margins"]) > tie
    return Agreement(
        model=sample.model.name,
        runtime=sample.opened["runtime"],
        reference=reference.model.name,
        pixels=len(other),
        tie=tie,
        ties=int((other & ~decided).sum()),
        differ=int((other & decided).sum()),
    )


def _summed(agreements: Sequence[Agreement]) -> list[Agreement]:
    """One agreement for each model, summed over all batches."""
    sums: dict[str, Agreement] = {}
    for entry in agreements:
        known = sums.get(entry.model)
        sums[entry.model] = (
            entry
            if known is None
            else replace(
                known, pixels=known.pixels + entry.pixels, ties=known.ties + entry.ties, differ=known.differ + entry.differ
            )
        )
    return list(sums.values())


def _answered(sample: Sample) -> bool:
    return sample.answers is not None and bool(sample.answers["labels"])


def _pace(sample: Sample) -> float:
    """Pixels a millisecond, the geometric mean over the rounds: what paired ratios are ratios of."""
    return float(np.exp(np.log(sample.opened["pixels_per_run"] / sample.medians).mean()))


def _margin(best: Sample, others: Sequence[Sample]) -> Comparison | None:
    return compared(best, max(others, key=_pace)) if others else None
