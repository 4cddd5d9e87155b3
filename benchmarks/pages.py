"""Writes pages of docs/benchmarks from templates/ and the stored results, and the README's table of what was measured.

    python benchmarks/pages.py

A test fails where a page says anything else than the results.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from hsiedge import files
from hsiedge.report.study.figures import Spread
from hsiedge.report.study.tables import csv_text
from hsiedge.runtimes import require_card
from hsiedge.shipped import shipped

sys.path.insert(0, str(Path(__file__).parent))

import leaderboard
import study_figures
from bars import results, tables, targets

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
TEMPLATES = Path(__file__).parent / "templates"
PARTS = ("nets3d.md",)  # of other pages
FIGURES = re.compile(r"<!-- figures -->\n.*?<!-- end -->", re.DOTALL)
CLAIMS = re.compile(r"(?<=<!-- claims -->\n).*?(?=<!-- end -->)", re.DOTALL)
NETS = (
    *(("cnn2d", split) for split in ("random", "random-60epochs", "blocks", "blocks-60epochs")),
    *((net, "random") for net in ("cnn1d", "cnn3d", "hybridsn")),
)
STUDENT = {"method": "distill", "level": "cnn2d:16,16,16,16,16", "precision": "int8"}
NOT_YET = "Not measured yet."
DATA = RESULTS / "study.csv"


def pages() -> Iterator[tuple[Path, str]]:
    """Each written page, with what it must say. Raises FigureError for a figure that a page may not show."""
    rows = study_figures.stored_rows()
    for path in sorted(TEMPLATES.glob("*.md.j2")):
        if path.stem not in PARTS:
            yield ROOT / "docs" / "benchmarks" / path.stem, rendered(path.name, study_figures.StudyFigures(rows))
    readme = (ROOT / "README.md").read_text()
    yield ROOT / "README.md", CLAIMS.sub(lambda _: claims(study_figures.StudyFigures(rows)) + "\n", readme)
    microcontroller = ROOT / "docs" / "tutorials" / "microcontroller.md"
    tables_of_c = iter([targets.sizes(targets.stored()), targets.instructions(targets.stored())])
    filled = FIGURES.sub(lambda _: f"<!-- figures -->\n{next(tables_of_c)}\n<!-- end -->", microcontroller.read_text())
    yield microcontroller, filled
    yield DATA, csv_text(rows)


def rendered(template: str, study: study_figures.StudyFigures) -> str:
    """A template's page, its figures of the study from `study`, all others as they are stored."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown
    )
    names = {
        "bars": bars,
        "committed": stored("committed"),
        "epochs_control": epochs_control,
        "budget": budget,
        "fold_spread": statistics.stdev(leaderboard.accuracies("blocks", "lda")),
        "hybrids": hybrids,
        "leaderboard": lambda split: leaderboard.table(split, leaderboard.stored()),
        "leaks": leaderboard.content()["leaks"],
        "measured": measured,
        "nets": nets,
        "pixel_oa": statistics.mean(leaderboard.accuracies("hong", "mlp:1")),
        "published": leaderboard.sources,
        "shipped_models": shipped_models,
        "study": study,
        "tried": tried,
    }
    return environment.get_template(template).render(**names)


def bars(*asked: str | int, store: dict[str, Any] | None = None) -> str:
    """A table of the bars of whole scenes.

    Args:
        asked: a bar's number; "verdicts" and a number, or alone for all bars; "device" and a number for the machine and its
            limits; "measured" and a number for date, machine and command; "breakdown" for where the student's time goes;
            "processors" for speeds on other ones too, and "native processors" for the native engine's.
        store: in the place of the stored results.

    Raises:
        KeyError: there is no such table.
    """
    content = results.stored() if store is None else store
    if asked == ("verdicts",):
        return tables.all_verdicts(content)
    if asked == ("processors",):
        return tables.processors([content, *results.elsewhere()])
    if asked == ("native processors",):
        return tables.native_processors([content, *results.elsewhere()])
    bar = 2 if asked == ("breakdown",) else int(asked[-1])
    entry = content["bars"].get(str(bar))
    if entry is None:
        return NOT_YET
    if asked == (bar,):
        return tables.page_table(bar, entry)
    figures: dict[str | int, Callable[[dict[str, Any]], str]] = {
        "breakdown": tables.breakdown,
        "verdicts": tables.verdicts,
        "device": lambda entry: tables.device_line(entry["device"], entry["limits"]),
        "measured": lambda entry: (
            f"{entry['measured'][:10]}, {entry['device']['cpu']}: `python benchmarks/peers.py --bars {bar}`"
        ),
    }
    return figures[asked[0]](entry)


def stored(name: str) -> Any:
    """The content of a file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def measured(name: str) -> str:
    """The days on which a file of results was measured, the machines, and the versions that it tells.

    A day with an asterisk is that of the commit which brought the result: hsiedge's scripts once stored none.
    """
    content = stored(name)
    rows = next((content[key] for key in ("seeds", "rows") if key in content), [content])
    days = sorted({row.get("measured") or f"{stored('committed')[name]}\\*" for row in rows})
    machines = sorted({row.get("device") or content.get("device") or content.get("cpu") or content["core"] for row in rows})
    versions = [f"{package} {version}" for package, version in content.get("versions", {}).items()]
    span = days[-1:] if days[-1].startswith(days[0]) else [days[0], days[-1]]
    return ", ".join([" to ".join(span), " and ".join(machines), *versions])


def tried(name: str, *titles: str) -> str:
    """OA in percent of each row with these titles, of a file of results on what was tried."""
    rows = stored(name)["rows"]
    values = [row.get("inner_blocks", row.get("oa")) for title in titles for row in rows if row["tried"] == title]
    return ", ".join(f"{value:.1f}" for value in values)


def markdown(head: str, rows: Sequence[Sequence[object]]) -> str:
    """A table; columns of its head have bars between them."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).strip() for cell in line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean and, of several, standard deviation."""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def nets() -> str:
    """Accuracy of nets, float and INT8."""
    lines = []
    for net, split in NETS:
        rows = stored(f"indian_pines-{net}-{split}")["seeds"]
        figures = (("float", "oa"), ("int8", "oa"), ("int8", "aa"))
        lost = max(row["float"]["oa"] - row["int8"]["oa"] for row in rows)
        sizes = [f"{rows[0][precision]['bytes'] / 1000:.0f} kB" for precision in ("float", "int8")]
        means = [spread([row[precision][figure] for row in rows]) for precision, figure in figures]
        titles = [net, rows[0]["epochs"], split.partition("-")[0], len(rows)]
        lines.append([*titles, *means, f"{lost:.2f}", *sizes, measured(f"indian_pines-{net}-{split}")])
    head = "net|epochs|split|seeds|OA %, float|OA %, INT8|AA %, INT8|most OA lost to INT8|float file|INT8 file|measured"
    return markdown(head, lines)


def epochs_control() -> str:
    """What twice as many epochs give the default net, paired by seed."""
    sentences = []
    for split in ("random", "blocks"):
        pairs = [stored(f"indian_pines-cnn2d-{split}{suffix}")["seeds"] for suffix in ("", "-60epochs")]
        gain = Spread(tuple(long["float"]["oa"] - short["float"]["oa"] for short, long in zip(*pairs, strict=True)))
        low, high = gain.interval or (math.nan, math.nan)
        sentences.append(f"{gain.mean:+.2f} points on `{split}` (95 % interval {low:+.2f} to {high:+.2f}, {gain.n} seeds)")
    return (
        "`cnn2d` trains 30 epochs by default. Twice as many steps change its float OA, paired by seed, by "
        f"{' and '.join(sentences)}. Narrower nets (`--widths`) take 60 by default."
    )


def shipped_models() -> str:
    """The shipped models, by what their own Cards say."""
    lines = []
    for suffix in (".onnx", "-int8.onnx", "-int8-scene.onnx", "-int8.tflite", "-int8-scene.tflite"):
        path = shipped(suffix)
        card = require_card(path)
        own, *others = card.accuracy
        assert card.split is not None
        assert card.split.fraction is not None
        split = f"{card.split.kind}, {100 * card.split.fraction:g} %, seed {card.split.seed}"
        over_seeds = "".join(f"{over.oa:.2f} ± {over.oa_std:.2f} ({len(over.seeds)} seeds)" for over in others)
        lines.append([path.name, f"{path.stat().st_size / 1000:.0f} kB", split, f"{own.oa:.2f}", over_seeds])
    return markdown("file in models/|size|split|test OA %, this file|test OA %, mean ± std over seeds", lines)


def budget() -> str:
    """The search for 16 KiB, a line a seed, then the means."""
    rows = stored("compress-indian_pines-random")["seeds"]
    lines = [
        [
            row["seed"],
            ", then ".join(row["path"]),
            f"{row['bytes']:,}",
            *(f"{row['test'][net]:.2f}" for net in ("student", "teacher")),
        ]
        for row in rows
    ]
    means = [spread([row["test"][net] for row in rows]) for net in ("student", "teacher")]
    lines.append([f"all {len(rows)}", "", f"at most {max(row['bytes'] for row in rows):,}", *means])
    return markdown("seed|the path it took|bytes, Card included|test OA %, INT8 student|test OA %, float teacher", lines)


def hybrids() -> str:
    """Hybrid scene graphs against patch by patch."""
    lines = [
        [
            f"{row['net']}, patch {row['patch']}, {row['bands']} bands",
            f"{row['macs_patch'] / 1e6:.1f}",
            f"{row['macs_dense'] / 1e6:.2f} + {row['macs_pixel'] / 1e6:.2f}",
            f"{row['times_fewer_macs']:.1f}",
            f"{row['times_faster']:.1f}",
            f"{row['labels_differ']} of {row['pixels']:,}",
        ]
        for row in stored("hybrid")["results"]
    ]
    return markdown("net|million MACs a patch|on maps + a pixel|times fewer|times as fast|labels that differ", lines)


def claims(study: study_figures.StudyFigures) -> str:
    """The README's table: what hsiedge does, what was measured, and where more of it stands."""
    cores, (float_patch, *_, int8_scene) = stored("instructions")["cores"], stored("peers")["bars"]["1"]["rows"][:4]
    native = {verdict["what"]: verdict["value"] for verdict in stored("peers")["bars"]["7"]["verdicts"]}
    whole, rows_alone = (
        native[f"cnn2d, {push}: native against the better of the others, times"] for push in ("a whole scene", "1 rows a push")
    )
    hybrid = stored("hybrid")["results"][0]
    small = stored("compress-indian_pines-random")["seeds"]
    live = stored("live")[0]
    default, integer, svm = (
        spread(leaderboard.accuracies("hong", *method)) for method in (("cnn2d:13",), ("cnn2d:13", "int8"), ("svm",))
    )
    verified = next(entry for entry in leaderboard.published("hong") if entry.address)
    student = study("claim", "own", scene="indian_pines", split="hong", net="cnn2d", **STUDENT)
    rows = [
        (
            "One graph for whole strips from any patch net, exact",
            f"{cores['cortex-a76']['times fewer']:.0f} times fewer instructions a pixel than float patches (INT8, Cortex-A76);"
            f" OA {float_patch['oa']:.2f} → {int8_scene['oa']:.2f} %",
            "[speed](docs/benchmarks/speed.md)",
        ),
        (
            "Published nets as they are: a hybrid where a layer has no equivalent on maps",
            f"{hybrid['net']}: {hybrid['times_fewer_macs']:.0f} times fewer MACs, {hybrid['labels_differ']} of"
            f" {hybrid['pixels']:,} labels differ",
            "[accuracy](docs/benchmarks/accuracy.md)",
        ),
        (
            "An engine of its own for integer scene graphs",
            f"{whole:.2f} times as fast as the better of onnxruntime and LiteRT on a whole strip, {rows_alone:.1f} times row by"
            " row (default net, one x86 core)",
            "[speed](docs/benchmarks/speed.md)",
        ),
        (
            "A net for a budget of bytes",
            f"at most {max(row['bytes'] for row in small):,} bytes: OA {spread([row['test']['student'] for row in small])} %,"
            f" its teacher {spread([row['test']['teacher'] for row in small])} %, {len(small)} seeds",
            "[accuracy](docs/benchmarks/accuracy.md)",
        ),
        (
            "Each compression method beside its control",
            f"a distilled student: {student}",
            "[study](docs/benchmarks/study.md)",
        ),
        (
            "A leaderboard that one command runs again, on the split that papers use",
            f"Hong's Indian Pines: OA {default} %, in INT8 {integer} %; an SVM {svm} %;"
            f" {verified.method.partition(',')[0]}, published, {verified.oa:.2f} %",
            "[leaderboard](docs/benchmarks/leaderboard.md)",
        ),
        (
            "A camera's lines to labels as they come",
            f"{live['lines_in']:,} lines at {live['line_rate']:.0f} a second on one x86 core, {live['dropped']} dropped,"
            f" {live['peak_mib']:.0f} MiB",
            "[live](docs/reference/live.md)",
        ),
    ]
    return markdown("what|measured|more", rows)


def main() -> None:
    """Writes the pages, and names those that changed."""
    for path, text in pages():
        changed = not path.is_file() or path.read_text() != text
        if changed:
            files.write_bytes(path, text.encode())
        print(f"{path.relative_to(ROOT)}: {'written' if changed else 'is as the results have it'}")


if __name__ == "__main__":
    main()
