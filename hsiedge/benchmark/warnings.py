"""Warnings about figures that are not to be trusted, and what each of them withdraws.

The limits on spread are pyperf's (`python -m pyperf check`). benchmarks/warning_limits.py measures with and without programs
that disturb, keeps the runs, and shows what lies on which side of each limit.

pyperf judges values that are each the mean of many loops; ours are the means of the rounds. Of single runs of microseconds
the longest is always far off, and a warning that always comes is not read: their tail has its own limit.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from enum import Enum
from typing import Any

import numpy as np

from hsiedge.benchmark.measure import Sample
from hsiedge.benchmark.statistics import deviation, drift
from hsiedge.device.facts import DeviceFacts
from hsiedge.errors import Spell, spell
from hsiedge.runtimes.model import OVERFLOWS

SPREAD = 0.10  # standard deviation over mean
EXTREME = 0.50  # distance of the extremes from the mean
TAIL = 2.0  # p99 over median
DRIFT = 0.10
CLOCK = 0.01  # cost of reading the clock over the median
SHORT_SECONDS = 0.5
OTHER_CORES, STOLEN_CORES = 0.25, 0.02


WAITED = 0.02  # of the time that runs took

TIMES, RATIOS, TAILS = "times", "ratios", "tails"
_EVERYTHING = (TIMES, RATIOS, TAILS)
_ABSOLUTE = (TIMES, TAILS)


class MeasurementWarning(Enum):
    """Kind of reason not to trust a figure: `words` name it where many are counted, `line` is the warning on one.

    `withdraws`: which figures it takes back. What slows all models alike takes back times, and not their ratios: models take
    turns, and are compared round by round. Empty for what is said and takes back nothing.
    `remedy`: what to do with which parameter of `bench`, where that mends it.
    Results and stores keep the lines. `of` tells their kind again, by the form that they were made with: a line may get a new
    kind, but one that stands in a store keeps its form.
    """

    UNSTABLE = "unstable", "unstable: the rounds' means spread by {spread:.0f} % (std over mean)", _ABSOLUTE
    APART = "a round apart", "one round lies {off:.0f} % {side} the mean", _ABSOLUTE
    TAIL = "long tails", "1 run in 100 takes {times:.1f} times the median or longer", (TAILS,)
    DRIFT = "drift", "drift: the last third took {change:.0%} {way} than the first", _ABSOLUTE
    CLOCK = (
        "too short to time",
        "too short to time: reading the clock is {share:.0%} of a run",
        _EVERYTHING,
        ("raise", "batches"),
    )
    BRIEF = "timed too briefly", "timed for {seconds:.2g} s in all", _EVERYTHING, ("raise", "seconds")
    OTHERS = "other programs were running", "other programs kept {cores:.1f} cores busy meanwhile", _ABSOLUTE
    WAITED = "it waited for cores", "its threads waited for a core {share:.0%} of the time", _ABSOLUTE
    STOLEN = "the host took cores away", "the host took {cores:.2f} cores away from this virtual machine meanwhile", _ABSOLUTE
    HELD_BACK = "the CPU was held back", "the CPU was held back: {why}", _ABSOLUTE
    THREADS = "more threads than cores", "{threads} threads on {cores} usable cores", _ABSOLUTE, ("lower", "threads")
    OVERFLOWS = "8-bit sums may overflow", OVERFLOWS, ()
    INT8 = "INT8 on a CPU without its instructions", "INT8 on a CPU without {what}", ()
    GOVERNOR = "clocks may change", "the frequency governor is {name}, not performance: clocks may change meanwhile", ()

    def __init__(self, words: str, line: str, withdraws: tuple[str, ...], remedy: tuple[str, str] | None = None) -> None:
        self.words, self.line, self.withdraws, self.remedy = words, line, withdraws, remedy
        parts = (re.escape(text) + (".+" if blank is not None else "") for text, blank, *_ in string.Formatter().parse(line))
        self._form = re.compile("".join(parts) + r"(; \w+ --\w+)?" * (remedy is not None))  # 0.1.0 wrote the remedy, too

    def say(self, **facts: Any) -> str:
        """The warning's line, with its figures."""
        return self.line.format(**facts)

    @classmethod
    def of(cls, line: str) -> MeasurementWarning | None:
        """The kind of a warning line; None for one that was made elsewhere."""
        return next((kind for kind in cls if kind._form.fullmatch(line)), None)


def withdrawn(lines: Iterable[str]) -> set[str]:
    """Figures that warnings take back, of TIMES, RATIOS and TAILS; all of them for a line of unknown kind."""
    kinds = [MeasurementWarning.of(line) for line in lines]
    return {figure for kind in kinds for figure in (_EVERYTHING if kind is None else kind.withdraws)}


def still_holds(lines: Iterable[str]) -> str:
    """One line: what holds in spite of warnings."""
    figures = withdrawn(lines)
    if RATIOS in figures:
        return "What holds: sizes, memory and labels; neither times nor their ratios."
    if TIMES in figures:
        return "What holds: ratios between models, which took turns; sizes, memory and labels. Times do not."
    if TAILS in figures:
        return "What holds: medians, ratios, sizes, memory and labels; not the longest runs."
    return "What holds: all figures."


def advice(line: str, spell: Spell = spell) -> str:
    """A warning's line and what mends it, its parameter written by `spell`: "timed for 0.2 s in all; raise seconds"."""
    kind = MeasurementWarning.of(line)
    if kind is None or kind.remedy is None or " --" in line:
        return line
    verb, option = kind.remedy
    return f"{line}; {verb} {spell(option, '')}"


def warnings_of(sample: Sample, facts: DeviceFacts, threads: int) -> list[str]:
    """Warnings on the figures of `sample`, a line for each reason."""
    return [*_of_times(sample), *_of_load(sample, facts, threads), *_of_device(sample, facts, threads)]


def _of_times(sample: Sample) -> list[str]:
    means, runs = np.array([entry.mean() for entry in sample.rounds]), sample.all_ms
    mean, median = float(means.mean()), float(np.median(runs))
    lines = []
    if deviation(means) >= SPREAD * mean:
        lines.append(MeasurementWarning.UNSTABLE.say(spread=100 * deviation(means) / mean))
    furthest = float(means[np.abs(means - mean).argmax()])
    if abs(furthest - mean) >= EXTREME * mean:
        side = "above" if furthest > mean else "below"
        lines.append(MeasurementWarning.APART.say(off=100 * abs(furthest - mean) / mean, side=side))
    tail = float(np.percentile(runs, 99)) / median
    if tail >= TAIL:
        lines.append(MeasurementWarning.TAIL.say(times=tail))
    change = drift(sample.medians.tolist())
    if abs(change) >= DRIFT:
        lines.append(MeasurementWarning.DRIFT.say(change=abs(change), way="longer" if change > 0 else "less"))
    clock = float(sample.opened["clock_ms"]) / median
    if clock >= CLOCK:
        lines.append(MeasurementWarning.CLOCK.say(share=clock))
    if runs.sum() < 1e3 * SHORT_SECONDS:
        lines.append(MeasurementWarning.BRIEF.say(seconds=runs.sum() / 1e3))
    return lines


def _of_load(sample: Sample, facts: DeviceFacts, threads: int) -> list[str]:
    """Warnings of what else ran: where the kernel tells how long threads waited for a core, that decides."""
    lines = []
    spare = max(0, facts.cores_usable - threads) if facts.cores_usable is not None else 0
    if sample.waited is not None:
        if sample.waited >= WAITED:
            lines.append(MeasurementWarning.WAITED.say(share=sample.waited))
    elif (sample.load.cores or 0) >= spare + OTHER_CORES:
        lines.append(MeasurementWarning.OTHERS.say(cores=sample.load.cores))
    if (sample.load.stolen or 0) >= STOLEN_CORES:
        lines.append(MeasurementWarning.STOLEN.say(cores=sample.load.stolen))
    return lines


def _of_device(sample: Sample, facts: DeviceFacts, threads: int) -> list[str]:
    lines = []
    if facts.throttle_reasons:
        lines.append(MeasurementWarning.HELD_BACK.say(why=", ".join(facts.throttle_reasons)))
    if facts.cores_usable is not None and threads > facts.cores_usable:
        lines.append(MeasurementWarning.THREADS.say(threads=threads, cores=facts.cores_usable))
    if sample.opened["overflows"]:
        lines.append(MeasurementWarning.OVERFLOWS.say())
    if sample.opened["precision"] == "int8" and facts.int8_ready is False and not facts.int8_overflows:
        arm = facts.machine.startswith(("aarch64", "arm"))
        lines.append(MeasurementWarning.INT8.say(what="the dot product" if arm else "VNNI"))
    if facts.governor is not None and facts.governor != "performance":
        lines.append(MeasurementWarning.GOVERNOR.say(name=facts.governor))
    return lines
