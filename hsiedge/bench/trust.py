"""When figures are not to be trusted. The limits on spread are pyperf's (`python -m pyperf check`).

pyperf judges values that are each the mean of many loops; ours are the means of the rounds. Of single runs of microseconds
the longest is always far off, and a warning that always comes is not read: their tail has its own limit.
"""

from __future__ import annotations

import numpy as np

from hsiedge.bench.device import DeviceFacts
from hsiedge.bench.measure import Sample
from hsiedge.bench.statistics import deviation, drift

SPREAD = 0.10  # standard deviation over mean
EXTREME = 0.50  # distance of the extremes from the mean
TAIL = 2.0  # p99 over median
DRIFT = 0.10
CLOCK = 0.01  # cost of reading the clock over the median
SHORT_SECONDS = 0.5
OTHER_CORES, STOLEN_CORES = 0.25, 0.02


def warnings_of(sample: Sample, facts: DeviceFacts, threads: int) -> list[str]:
    """One line for each reason to doubt the figures of `sample`."""
    return [*_of_times(sample), *_of_load(sample), *_of_device(sample, facts, threads)]


def _of_times(sample: Sample) -> list[str]:
    means, runs = np.array([entry.mean() for entry in sample.rounds]), sample.all_ms
    mean, median = float(means.mean()), float(np.median(runs))
    found = []
    if deviation(means) >= SPREAD * mean:
        found.append(f"unstable: the rounds' means spread by {100 * deviation(means) / mean:.0f} % (std over mean)")
    furthest = float(means[np.abs(means - mean).argmax()])
    if abs(furthest - mean) >= EXTREME * mean:
        found.append(
            f"one round lies {100 * abs(furthest - mean) / mean:.0f} % {'above' if furthest > mean else 'below'} the mean"
        )
    tail = float(np.percentile(runs, 99)) / median
    if tail >= TAIL:
        found.append(f"1 run in 100 takes {tail:.1f} times the median or longer")
    change = drift(sample.medians.tolist())
    if abs(change) >= DRIFT:
        found.append(f"drift: the last third took {abs(change):.0%} {'longer' if change > 0 else 'less'} than the first")
    clock = float(sample.opened["clock_ms"]) / median
    if clock >= CLOCK:
        found.append(f"too short to time: reading the clock is {clock:.0%} of a run; raise --batch")
    if runs.sum() < 1e3 * SHORT_SECONDS:
        found.append(f"timed for {runs.sum() / 1e3:.2g} s in all; raise --seconds")
    return found


def _of_load(sample: Sample) -> list[str]:
    found = []
    if (sample.load.cores or 0) >= OTHER_CORES:
        found.append(f"other programs kept {sample.load.cores:.1f} cores busy meanwhile")
    if (sample.load.stolen or 0) >= STOLEN_CORES:
        found.append(f"the host took {sample.load.stolen:.2f} cores away from this virtual machine meanwhile")
    return found


def _of_device(sample: Sample, facts: DeviceFacts, threads: int) -> list[str]:
    found = []
    if facts.throttle_reasons:
        found.append(f"the CPU was held back: {', '.join(facts.throttle_reasons)}")
    if facts.cores_usable is not None and threads > facts.cores_usable:
        found.append(f"{threads} threads on {facts.cores_usable} usable cores; lower --threads")
    if sample.opened["precision"] == "int8" and facts.int8_ready is False:
        arm = facts.machine.startswith(("aarch64", "arm"))
        found.append(
            f"INT8 on a CPU without {'the dot product' if arm else 'VNNI or AMX, which may saturate and change labels'}"
        )
    if facts.governor is not None and facts.governor != "performance":
        found.append(f"the frequency governor is {facts.governor}, not performance: clocks may change meanwhile")
    return found
