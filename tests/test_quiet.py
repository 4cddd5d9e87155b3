"""What libraries print, log and warn inside the block reaches nobody; all is as before after it."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from hsiedge.quiet import quiet


def chatter() -> None:
    print("advice")
    print("advice", file=sys.stderr)
    warnings.warn("advice", UserWarning, stacklevel=1)
    logging.getLogger("library").warning("advice")


def test_the_block_is_silent(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        chatter()
        logging.getLogger("library").error("trouble")
    assert capsys.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == ["trouble"]


def test_after_the_block_all_is_as_before(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    with pytest.warns(UserWarning, match="advice"):
        chatter()
    assert capsys.readouterr() == ("advice\n", "advice\n")
    assert [record.message for record in caplog.records] == ["advice"]


def test_prints_and_logs_may_go_on(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet(prints=False):
        chatter()
    assert capsys.readouterr() == ("advice\n", "advice\n")
    assert [record.message for record in caplog.records] == ["advice"]
