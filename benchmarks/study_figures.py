"""Figures of the study's stored results, as templates of pages ask for them.

    {% set _ = study.choose(scene="indian_pines", split="random", net="cnn2d") %}
    loses {{ study("drop", method="none", precision="int8") }} points

The first words name the figure, then traits choose among the study's entries (hsiedge.report.study.figures); `study.choose`
sets traits that hold from there on. Figures:

    oa aa kappa drop              percent, points below the float net, mean over seeds; "oa+-" with ± standard deviation
    bytes gzip kb gzip_kb         the file; parameters nonzeros macs (thousands: parameters_k, macs_k, or macs_m)
    ms1 ms256 memory energy       latencies of the batches measured, MiB, mJ a pixel
    smaller faster1 faster256     how many times, against the float net
    fewer scene_fewer             how many times fewer instructions a pixel, against the float net's patch graph
    gain                          of QAT: points of OA above its control
    claim [KIND]                  the difference to a control with its 95 % interval, in words: the only way in which a page may
                                  speak of the accuracy of a method. KIND is of figures.CONTROLS; left out, the main one
    n level net precision         of the entry itself
    cells hours scenes nets seeds test train validation device made undated
                                  of all that was chosen

    max, min FIGURE               of all that was chosen, rather than of the one entry
    count                         how many entries were chosen
    best, worst FIGURE            the figure of the entry that is highest, lowest in another (of="smaller")
    doubts                        one sentence of the latencies that are not to be trusted
    epochs tuning                 of the net itself, and of each method after it
    steps                         that the net itself took, of 64 patches each
    table [FIGURES...]            a Markdown table of what was chosen for each scene and split, with its notes

Traits are scene, split, net, method, level, precision ("int4" finds "int4 (simulated)"), variant, control="yes",
simulated="no"; a list stands for any of its values. where="drop<=0.5" holds a figure against a limit.

A page is refused where an accuracy of a method stands without its control, in prose or in a table without the columns "own"
and "all", and where a latency stands in it that its own warnings withdraw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsiedge.errors import StudyError
from hsiedge.report.study.figures import MAIN_CONTROLS, Entry, Group, control_of
from hsiedge.report.study.gather import groups
from hsiedge.report.study.tables import UNITS, markdown_notes, markdown_table, sheet, spread_words
from hsiedge.report.study.warnings import warning_words
from hsiedge.study.rows import Row
from hsiedge.study.store import Store

RESULTS = Path(__file__).parent / "results"

_LIMIT = re.compile(r"(?P<name>[a-z_0-9]+)(?P<sign><=|>=)(?P<value>[\d.]+)")
_ACCURACY = ("oa", "aa", "kappa", "drop", "gain")
_BATCH = 64  # patches a step: the default of hsiedge.training.fit
_DIGITS = {"oa": 2, "aa": 2, "kappa": 2, "drop": 2, "gain": 2, "memory": 1, "smaller": 1, "fewer": 1, "scene_fewer": 0}
Trait = str | list[str]


class FigureError(Exception):
    """A figure that does not exist, of which there are several, or that no page may show."""


@dataclass(frozen=True)
class Choice:
    """Entries, each with the group that it stands in."""

    entries: list[tuple[Group, Entry]]

    @property
    def one(self) -> tuple[Group, Entry]:
        """The only one. Raises FigureError."""
        if len(self.entries) != 1:
            examples = "; ".join(f"{group.title}: {entry.title}" for group, entry in self.entries[:6])
            raise FigureError(f"{len(self.entries)} entries are chosen where one is needed: {examples or 'none'}")
        return self.entries[0]

    @property
    def rows(self) -> list[Row]:
        return list({row.cell.key: row for _, entry in self.entries for row in entry.rows}.values())


class StudyFigures:
    """Figures of rows of the study, called from a template.

    Args:
        strict: refuse what no page may show.
    """

    def __init__(self, rows: Sequence[Row], strict: bool = True) -> None:
        self._entries = [(group, entry) for group in (groups(rows) if rows else []) for entry in group.entries]
        self._common: dict[str, Trait] = {}
        self._strict = strict

    def choose(self, **traits: Trait) -> None:
        """Sets the traits that hold for all calls from here on, until the next one of this."""
        self._common = traits

    def any(self, **traits: Trait) -> bool:
        """True where there is an entry of these traits alone."""
        return bool(_chosen(traits, "", self._entries).entries)

    def __call__(self, *asked: str, where: str = "", of: str = "", **traits: Trait) -> str:
        """The figure in words.

        Raises:
            FigureError: it is not there, or no page may show it; the message has the question.
        """
        try:
            choice = _chosen({**self._common, **traits}, where, self._entries)
            if self._strict:
                _check(choice, asked)
            return _answer(choice, asked, of)
        except (FigureError, KeyError, StudyError) as error:
            words = [f"{name}={value if isinstance(value, str) else '|'.join(value)}" for name, value in traits.items()]
            raise FigureError(f"{' '.join([*asked, *words, *[where] * bool(where)])}: {error.args[0]}") from error


def stored_rows(folder: Path = RESULTS) -> list[Row]:
    """The rows of all stores among the stored results."""
    rows: list[Row] = []
    for path in sorted(folder.glob("*.sqlite")):
        with Store(path, make=False) as store:
            rows += store.rows()
    return rows


def _answer(choice: Choice, asked: Sequence[str], of: str) -> str:
    if asked[0] == "table":
        return _table(choice, asked[1:])
    if asked[0] == "claim":
        return _claim(*choice.one, asked[1:])
    if asked[0] in _OF_ALL:
        return _OF_ALL[asked[0]](choice)
    if asked[0] in ("max", "min"):
        values = [value for group, entry in choice.entries if (value := _value(group, entry, asked[1])) is not None]
        if not values:
            raise FigureError(f"nothing that was chosen has {asked[1]}")
        return _form(asked[1], max(values) if asked[0] == "max" else min(values))
    if asked[0] in ("best", "worst"):
        choice, asked = _extreme(choice, asked, of or asked[1]), [asked[1]]
    return _of_one(*choice.one, asked[0])


def _check(choice: Choice, asked: Sequence[str]) -> None:
    """Raises FigureError for an accuracy of a method without its control, and for a latency that is withdrawn."""
    table = asked[0] == "table"
    names = [name.removesuffix("+-") for name in asked] or [""]
    everything = table and len(names) == 1
    methods = [entry for _, entry in choice.entries if entry.method in MAIN_CONTROLS and not entry.control]
    if everything or any(name in _ACCURACY for name in names) or (table and "parent" in names):
        lacking = [entry.title for entry in methods if entry.against() is None]
        if table and (lacking or (methods and not everything and not {"own", "all"} <= set(names))):
            raise FigureError(f"accuracies without their controls: {', '.join(lacking) or 'ask for own and all, too'}")
        if not table and (methods or {"drop", "gain"} & set(names)):
            raise FigureError("an accuracy of a method without its control; ask for claim")
    timed = [name for name in names if name.startswith(("ms", "faster"))]
    withdrawn = [entry.title for _, entry in choice.entries if entry.warnings and (timed or everything)]
    if withdrawn:
        raise FigureError(f"latencies that their own warnings withdraw: {', '.join(withdrawn)}")


def _claim(group: Group, entry: Entry, kinds: Sequence[str]) -> str:
    """The difference to a control, in words."""
    contrast = next((c for c in entry.contrasts if c.kind == kinds[0]), None) if kinds else entry.against()
    if contrast is None or (entry.method in MAIN_CONTROLS and entry.against() is None):
        raise FigureError(f"{group.title}: {entry.title} has no control{f' of kind {kinds[0]}' if kinds else ''}")
    return contrast.words()


def _chosen(traits: Mapping[str, Trait], where: str, entries: list[tuple[Group, Entry]]) -> Choice:
    """The entries that have all traits and keep the limit; controls only where they are asked for."""
    wanted = {"control": "no", **traits}
    return Choice([pair for pair in entries if _has(*pair, wanted) and _keeps(*pair, where)])


def _has(group: Group, entry: Entry, wanted: Mapping[str, Trait]) -> bool:
    traits = {
        "scene": group.scene,
        "split": group.split,
        "net": entry.net,
        "method": entry.method,
        "level": entry.level,
        "variant": entry.variant,
        "precision": entry.precision.partition(" ")[0],
        "control": "yes" if entry.control else "no",
        "simulated": "yes" if entry.simulated else "no",
    }
    for name in wanted.keys() - traits.keys():
        raise FigureError(f"{name} is none of {', '.join(traits)}")
    return all(traits[name] in ([value] if isinstance(value, str) else value) for name, value in wanted.items())


def _keeps(group: Group, entry: Entry, where: str) -> bool:
    if not where:
        return True
    limit = _LIMIT.fullmatch(where)
    if limit is None:
        raise FigureError(f"{where} is no FIGURE<=LIMIT or FIGURE>=LIMIT")
    figure = _value(group, entry, limit["name"])
    return figure is not None and (
        figure <= float(limit["value"]) if limit["sign"] == "<=" else figure >= float(limit["value"])
    )


def _value(group: Group, entry: Entry, name: str) -> float | None:
    """A figure's mean over seeds; None where the entry has none."""
    if name == "gain":
        control = control_of(entry, group.entries)
        return entry.figures["oa"].mean - control.figures["oa"].mean if control else None
    figure, unit = UNITS.get(name, (name, 1.0))
    return entry.figures[figure].mean / unit if figure in entry.figures else None


def _of_one(group: Group, entry: Entry, name: str) -> str:
    if name in ("n", "level", "net", "precision", "method"):
        return str(getattr(entry, name))
    if name.endswith("+-"):
        return spread_words(entry.figures[name[:-2]], f"{{:.{_DIGITS.get(name[:-2], 3)}f}}")
    value = _value(group, entry, name)
    if value is None:
        raise FigureError(f"{entry.title} has no {name}")
    return _form(name, value)


def _form(name: str, value: float) -> str:
    """A figure with as many digits as it is worth; counts and bytes whole."""
    if name in _DIGITS:
        return f"{value:.{_DIGITS[name]}f}"
    if name in ("bytes", "gzip", "parameters", "nonzeros", "macs"):
        return f"{value:,.0f}"
    if not value:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"  # three digits that count


def _extreme(choice: Choice, asked: Sequence[str], by: str) -> Choice:
    """The one entry that is highest or lowest in a figure."""
    able = [(value, pair) for pair in choice.entries if (value := _value(*pair, by)) is not None]
    if not able:
        raise FigureError(f"nothing that was chosen has {by}")
    pick = max if asked[0] == "best" else min
    return Choice([pick(able, key=lambda ranked: ranked[0])[1]])


def _table(choice: Choice, figures: Sequence[str]) -> str:
    """A table for each scene and split. Notes that all share stand once, behind them.

    Of QAT the controls come along where there is something that they have.
    """
    controlled = not figures or any(figure in ("oa", "aa", "kappa", "drop") for figure in figures)
    sheets = []
    for group in {id(group): group for group, _ in choice.entries}.values():
        kept = [entry for other, entry in choice.entries if other is group]
        beside = [(entry, control_of(entry, group.entries) if controlled else None) for entry in kept]
        sheets.append(sheet(group, [entry for pair in beside for entry in pair if entry is not None], figures))
    if not sheets:
        raise FigureError("nothing is chosen")
    shared = [note for note in sheets[0].notes if len(sheets) > 1 and all(note in other.notes for other in sheets)]
    parts = []
    for shown in sheets:
        own = [note for note in shown.notes if note not in shared]
        parts.append(f"**{shown.title}**\n\n{_unbroken(markdown_table(shown))}\n\n{markdown_notes(own)}")
    if shared:
        parts.append(f"For all of these tables:\n\n{markdown_notes(shared)}")
    return "\n\n".join(parts)


def _unbroken(table: str) -> str:
    """With a figure and its spread on one line, however narrow the page is."""
    return table.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def _counts(name: str) -> Callable[[Choice], str]:
    """A count of pixels of all that was chosen, "low to high" where it differs."""

    def words(choice: Choice) -> str:
        values = sorted({getattr(row, name) for row in choice.rows})
        return f"{values[0]:,}" + (f" to {values[-1]:,}" if len(values) > 1 else "") if values else "0"

    return words


def _epochs(name: str) -> Callable[[Choice], str]:
    return lambda choice: ", ".join(map(str, sorted({value for row in choice.rows if (value := getattr(row.cell, name))})))


def _steps(choice: Choice) -> str:
    """Steps of the uncompressed nets, "low to high" where they differ."""
    steps = sorted({row.cell.epochs * row.train // _BATCH for row in choice.rows})
    return " to ".join(f"{count:,}" for count in dict.fromkeys([steps[0], steps[-1]]))


_OF_ALL: dict[str, Callable[[Choice], str]] = {
    "count": lambda choice: str(len(choice.entries)),
    "cells": lambda choice: str(len(choice.rows)),
    "hours": lambda choice: _form("hours", sum(row.seconds for row in choice.rows) / 3600),
    "scenes": lambda choice: ", ".join(dict.fromkeys(group.scene for group, _ in choice.entries)),
    "nets": lambda choice: ", ".join(sorted({row.cell.net for row in choice.rows})),
    "doubts": lambda choice: warning_words([entry for _, entry in choice.entries]),
    "seeds": lambda choice: ", ".join(map(str, sorted({row.cell.seed for row in choice.rows}))),
    "device": lambda choice: " and ".join(sorted({row.device for row in choice.rows if row.device})),
    "made": lambda choice: "; ".join(sorted({row.made for row in choice.rows if row.made})),
    "undated": lambda choice: str(sum(not row.made for row in choice.rows)),
    "epochs": _epochs("epochs"),
    "tuning": _epochs("tuning"),
    "steps": _steps,
    "train": _counts("train"),
    "validation": _counts("validation"),
    "test": _counts("test"),
}
