"""The page report.html, self-contained, that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import jinja2

from hsiedge import __version__
from hsiedge.report.terminal.model import Shown, split_words


def render(title: str, models: Sequence[Shown], bench: dict[str, Any], picture: bytes, picture_title: str) -> str:
    """Renders report.html.

    Args:
        models: float first.
        bench: `Report.to_json()` of those models.
        picture: PNG, put into the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hsiedge.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first = models[0].evaluation
    return environment.get_template("report.html").render(
        title=title,
        models=models,
        bench=bench,
        version=__version__,
        split=split_words(first.split) if first.split else "all labelled pixels",
        facts=first.split,
        classes=list(first.classes.values()),
        picture=base64.b64encode(picture).decode(),
        picture_title=picture_title,
    )
