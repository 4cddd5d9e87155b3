"""Training: the fit loop, and checkpoints (safetensors with a Card inside)."""

from __future__ import annotations

import os
import sys


def sleeping_threads() -> None:
    """Has PyTorch's threads sleep while they wait for each other; without effect once torch is imported.

    GNU's OpenMP lets them spin: where another program needs a core, one spins for as long as the other is kept from it, some
    hundred times a step (benchmarks/training_speed.py). $OMP_WAIT_POLICY, where it is set, says otherwise. The order of sums
    stays.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
