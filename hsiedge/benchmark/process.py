"""The parent's side of a measuring process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import hsiedge
from hsiedge import errors
from hsiedge.errors import HsiedgeError, MissingExtraError, ModelError

PROGRAM = (sys.executable, "-m", "hsiedge.benchmark.worker")


class Worker:
    """A fresh process that measures; use it as a context, at whose end the process is gone.

    Args:
        path: the model that it measures, named in errors.
        program: what to run; it calls `hsiedge.benchmark.worker.main`.
        variables: of its environment, beside this process's.
    """

    def __init__(self, path: Path, program: Sequence[str] = PROGRAM, variables: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            list(program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env={**environment(), **(variables or {})},
            start_new_session=True,  # Ctrl-C is the parent's to handle: it ends its workers
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer.

        Raises:
            HsiedgeError: the one that the worker met.
            ModelError: the process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            kind = getattr(errors, reply["error"], HsiedgeError)
            raise (HsiedgeError if kind is MissingExtraError else kind)(reply["message"], **reply["fields"])
        return reply

    def close(self) -> None:
        """Ends the process, whatever it is doing, and its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:  # a command that nobody will read any more
                pass

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _death(self) -> ModelError:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        if code < 0:
            hint = "; out of memory? try a smaller batch" if -code == signal.SIGKILL else ""
            return ModelError(f"{self._path}: the process that measured it was ended by {signal_text(-code)}{hint}")
        return ModelError(f"{self._path}: the process that measured it ended with code {code}: {lines[-1] if lines else ''}")


def signal_text(number: int) -> str:
    """The name of a signal that ended a process, and what an illegal instruction (SIGILL) means."""
    name = signal.Signals(number).name
    if number != signal.SIGILL:
        return name
    reason = "an illegal instruction: a package was built for processors with instructions that this one lacks"
    return f"{name}, {reason}; install another version of the runtime (onnxruntime 1.21.0 does so on a Raspberry Pi 4)"


def environment() -> dict[str, str]:
    """The parent's, and what a measurement needs.

    A user's random.py beside the models must not be imported instead of Python's, unless hsiedge itself comes from there.
    """
    safe = {} if Path(hsiedge.__file__).resolve().parents[1] == Path.cwd() else {"PYTHONSAFEPATH": "1"}
    return {**os.environ, **safe}
