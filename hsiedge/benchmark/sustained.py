"""The sustained rate: one model without a pause, against temperature and frequency."""

from __future__ import annotations

import math
from typing import Any

from hsiedge.benchmark.measure import ModelFile, Plan, open_model
from hsiedge.benchmark.process import Worker
from hsiedge.benchmark.results import Sustained, Window
from hsiedge.device import facts
from hsiedge.device.energy import mean_mj
from hsiedge.progress import Progress

WINDOWS, LONGEST_WINDOW = 20, 30.0


def sustain(model: ModelFile, batch: int, seconds: float, plan: Plan, progress: Progress) -> Sustained:
    """Runs `model` for `seconds`, in 20 windows of equal length, or as many as it takes to keep one at 30 seconds.

    Ctrl-C ends it early: what was measured by then is returned.

    Raises:
        HsiedgeError: the model cannot be opened or run.
        KeyboardInterrupt: before the first window was full.
    """
    count = max(WINDOWS, math.ceil(seconds / LONGEST_WINDOW))
    windows: list[Window] = []
    interrupted = False
    with Worker(model.path) as worker:
        opened = open_model(worker, model, batch, plan)
        throttle, elapsed = facts.throttle_state(), 0.0
        try:
            while len(windows) < count and elapsed < seconds:  # a run longer than a window makes for fewer windows
                progress(elapsed / seconds)
                reply = worker.ask("window", seconds=seconds / count)
                later = facts.throttle_state()
                windows.append(_window(elapsed, reply, opened["pixels_per_run"], throttle, later))
                elapsed, throttle = elapsed + reply["seconds"], later
        except KeyboardInterrupt:
            if not windows:
                raise
            interrupted = True
    ratio = windows[-1].pixels_per_s / windows[0].pixels_per_s
    return Sustained(model.name, opened["precision"], opened["batch"], ratio, windows, interrupted)


def _window(
    start: float, reply: dict[str, Any], pixels: int, before: facts.Throttle | None, after: facts.Throttle | None
) -> Window:
    """One window of the run, from the worker's reply, the pixels of a run and the throttle states at both ends."""
    return Window(
        start_s=start,
        seconds=reply["seconds"],
        pixels_per_s=reply["runs"] * pixels / reply["seconds"],
        p50_ms=reply["p50_ms"],
        temperature_c=facts.temperature_c(),
        frequency_mhz=facts.frequency_mhz(),
        throttle_reasons=after.since(before) if after is not None and before is not None else [],
        energy_mj=mean_mj([reply["joules"]], reply["runs"] * pixels),
    )
