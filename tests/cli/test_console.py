"""Lines that commands write beside their results: progress in a log, and what -v shows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hsiedge.cli import console
from tests.cli.conftest import Hsiedge


class Clock:
    """A clock that the test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


def test_a_log_says_how_far_long_work_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    with console.progress("training cnn2d") as update:
        for second in range(60):
            clock.now = 100.0 + second
            update(second / 60)
        update(1.0)
        clock.now = 161.0
    assert capsys.readouterr().err.splitlines() == [
        "training cnn2d: 17% after 10 s, about 50 s left",
        *("training cnn2d: 67% after 40 s, about 20 s left", "training cnn2d: done in 61 s"),
    ]


def test_work_that_goes_on_is_timed_from_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    with console.progress("training cnn2d") as update:
        for second, share in ((0, 0.5), (100, 0.51), (131, 0.75), (10000, 0.76)):
            clock.now = 100.0 + second
            update(share)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "training cnn2d: 51% after 100 s, about 82 min left",
        "training cnn2d: 75% after 131 s, about 2 min left",
    ]


def test_a_log_says_nothing_of_short_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    with console.progress("training cnn2d") as update, console.waiting("reading"):
        clock.now += 9
        update(0.5)
    assert capsys.readouterr().err == ""
    with console.waiting("exporting"):
        clock.now += 14
    assert capsys.readouterr().err == "exporting: done in 14 s\n"


def test_a_program_that_watches_gets_shares_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setenv("HSIEDGE_PROGRESS", "1")
    with console.progress("measuring") as update, console.waiting("reading"):
        clock.now += 20
        update(0.25)
    assert capsys.readouterr().err == "hsiedge: progress 0.2500\n"


def test_verbose_shows_what_is_logged_and_leaves_no_handler(hsiedge: Hsiedge, tmp_path: Path) -> None:
    from hsiedge.shipped import shipped

    handlers = list(logging.getLogger("hsiedge").handlers)
    quiet = hsiedge("show", shipped(".onnx"))
    assert quiet.err == ""
    loud = hsiedge("bench", shipped("-int8.onnx"), "--seconds", "0.05", "--runs", "1", "--batch", "1", "-v")
    assert loud.code == 0
    assert "hsiedge.benchmark" in loud.err
    assert logging.getLogger("hsiedge").handlers == handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
