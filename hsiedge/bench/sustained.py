"""The sustained rate: one model without a pause, against temperature and frequency."""

from __future__ import annotations

import math

from hsiedge.bench import device
from hsiedge.bench.client import Worker
from hsiedge.bench.measure import ModelFile, Plan, open_model
from hsiedge.bench.results import Sustained, Window
from hsiedge.progress import Progress

WINDOWS, LONGEST_WINDOW = 20, 30.0


def sustain(model: ModelFile, batch: int, seconds: float, plan: Plan, progress: Progress) -> Sustained:
    """Runs `model` for `seconds`, in 20 windows of equal length, or as many as it takes to keep one at 30 seconds.

    Raises:
        HsiedgeError: the model cannot be opened or run.
    """
    count = max(WINDOWS, math.ceil(seconds / LONGEST_WINDOW))
    windows: list[Window] = []
    with Worker(model.path) as worker:
        opened = open_model(worker, model, batch, plan)
        throttle, elapsed = device.throttle_state(), 0.0
        while len(windows) < count and elapsed < seconds:  # a run longer than a window makes for fewer windows
            progress(elapsed / seconds)
            reply = worker.ask("window", seconds=seconds / count)
            later = device.throttle_state()
            windows.append(
                Window(
                    start_s=elapsed,
                    seconds=reply["seconds"],
                    pixels_per_s=reply["runs"] * opened["pixels_per_run"] / reply["seconds"],
                    p50_ms=reply["p50_ms"],
                    temperature_c=device.temperature_c(),
                    frequency_mhz=device.frequency_mhz(),
                    throttle_reasons=later.since(throttle) if later is not None and throttle is not None else [],
                )
            )
            elapsed, throttle = elapsed + reply["seconds"], later
    ratio = windows[-1].pixels_per_s / windows[0].pixels_per_s
    return Sustained(model.name, opened["precision"], opened["batch"], ratio, windows)
