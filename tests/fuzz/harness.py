"""Cases of fuzzing, each in a child forked from one warm parent: with 2 GiB of memory more than the parent has, and 10 seconds.

A case is a command line of hsiedge, or a function, on a sample whose file was mutated. It must end with exit code 0 or 2, an
error in one line; a function in a result or an error of ours. Anything else is a fault: another exception, a signal, no end, or
more than 1 GiB resident.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hsiedge.errors import HsiedgeError
from tests.fuzz.mutations import mutated

ADDRESS_SPACE, RESIDENT = 2 << 30, 1 << 30
SECONDS = 10.0
_OUR_FAULT = 70


@dataclass(frozen=True)
class Sample:
    """A file, and what is done with it.

    Attributes:
        name: of the kind of file.
        file: its name in the folder of samples; others of that folder may be needed, and are sound.
        act: words of a command, or a function of the file.
        text: whether the file is made of words.
    """

    name: str
    file: str
    act: tuple[str, ...] | Callable[[Path], object]
    text: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `fault` says what is wrong with that; None where it ended well."""

    fault: str | None
    code: int
    mib: int
    seconds: float


def run(sample: Sample, data: bytes, samples: Path) -> Outcome:
    """Runs a sample's act on the mutated bytes of its file, in a child with copies of the folder `samples`."""
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=samples.parent))
    try:
        for path in samples.iterdir():
            if path.name != sample.file:
                os.link(path, scratch / path.name)
        (scratch / sample.file).write_bytes(data)
        (scratch / "tmp").mkdir()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(sample, scratch)
        status, usage, late = _wait(child)
        output = b"".join(path.read_bytes() for path in (scratch / "out", scratch / "err") if path.exists())
        code = os.waitstatus_to_exitcode(status)
        mib = usage.ru_maxrss >> 10
        return Outcome(_fault(sample, code, late, mib, output), code, mib, time.monotonic() - began)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    began, late = time.monotonic(), False
    while True:
        pid, status, usage = os.wait4(child, 0 if late else os.WNOHANG)
        if pid:
            return status, usage, late
        if _hangs(child, time.monotonic() - began):
            os.kill(child, signal.SIGKILL)
            late = True
        time.sleep(0.002)


def _hangs(child: int, seconds: float) -> bool:
    """Whether its time is over; one that is kept from a processor, on a busy machine, has six times as long."""
    if seconds < SECONDS:
        return False
    process = psutil.Process(child)
    spent = process.cpu_times()
    return seconds > 6 * SECONDS or spent.user + spent.system > SECONDS or process.status() == psutil.STATUS_SLEEPING


def _fault(sample: Sample, code: int, late: bool, mib: int, output: bytes) -> str | None:
    text = output.decode(errors="replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")[:300]
    if late:
        return f"no end within {SECONDS:.0f} seconds"
    if code < 0:
        return f"ended by signal {-code}"
    if code not in (0, 2):
        return f"exit code {code}: {last}\n{text[-3000:]}"
    if mib > RESIDENT >> 20:
        return f"{mib} MiB resident"
    if "Traceback" in text or {"\x1b", "\x07", "\x9b"} & set(text):
        return f"a traceback or an escape sequence: {last}"
    if code == 2 and not callable(sample.act) and sum(line.startswith("hsiedge: error: ") for line in text.splitlines()) != 1:
        return f"not one line of an error: {text[-500:]}"
    return None


def _child(sample: Sample, scratch: Path) -> None:
    """Runs the act, and ends this process."""
    code = _OUR_FAULT
    try:
        os.chdir(scratch)
        tempfile.tempdir = str(scratch / "tmp")
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        most = _virtual() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _function(sample.act, scratch / sample.file) if callable(sample.act) else _command(sample.act)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _function(act: Callable[[Path], object], path: Path) -> int:
    try:
        act(path)
    except HsiedgeError as error:
        return 2 if "\n" not in str(error) else _OUR_FAULT
    except MemoryError:
        return 2
    return 0


def _command(words: Sequence[str]) -> int:
    from hsiedge.cli.main import main

    sys.argv = ["hsiedge", *words, "--traceback"] if os.environ.get("FUZZ_TRACEBACK") else ["hsiedge", *words]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return _OUR_FAULT


def cases(samples: Sequence[Sample], folder: Path, numbers: Sequence[int], seed: int) -> Iterator[tuple[int, Sample, bytes]]:
    """Number, sample and mutated bytes of each case; case `n` of a seed is the same on every machine."""
    for number in numbers:
        sample = samples[number % len(samples)]
        dice = random.Random(f"{seed}-{number}")
        yield number, sample, mutated((folder / sample.file).read_bytes(), dice, sample.text)
