"""The command line, run in this process."""

from tests.cli.conftest import hsiedge

__all__ = ["hsiedge"]
