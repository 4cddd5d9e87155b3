"""Help pages without the names of Python's types: an argument is shown by its own name, a flag by itself."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _WithoutTypes:
    """A command whose help shows `<list[Path]>` and `<bool>` beside none of its parameters."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters of the command; typer asks each for the word of its type, which a value of ours has as its metavar."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if parameter.param_type_name == "argument" or parameter.is_flag:
                parameter.display_type_rich = lambda ctx: ""
        return parameters


class Command(_WithoutTypes, TyperCommand):
    """A command of the command line."""


class Group(_WithoutTypes, TyperGroup):
    """A command that has commands."""
