"""Running the command line as a user does, in a folder of their own."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsiedge.cli import main


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error: that there is one, and code 2, is asserted."""
        lines = [line for line in self.err.splitlines() if line.startswith("hsiedge: error:")]
        assert self.code == 2, self
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Hsiedge = Callable[..., Run]


@pytest.fixture
def hsiedge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Hsiedge:
    """Runs `hsiedge WORDS...` in this process, in the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*words: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["hsiedge", *map(str, words)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:  # main sets up warnings for good
            main.main()
        for number, handler in handlers.items():  # main exits, and leaves none
            signal.signal(number, handler)
        out, err = capfd.readouterr()
        return Run(int(stop.value.code or 0), out, err)

    return run
