"""The engine's C source as one text for one processor: headers inlined, branches of other processors left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_INCLUDE = re.compile(r'#include "(hs_\w+\.h)"')
_NAME = re.compile(r"\b(?!defined\b)[A-Za-z_]\w*")


def engine_source(macros: Mapping[str, bool | None]) -> str:
    """The stream and its kernels as one text.

    Args:
        macros: macros of the engine by name; None for one that the compiler will know. Those that are not named are undefined.
    """
    lines = _resolved(_read("hs_stream.h").splitlines(), macros, set())
    text = "\n".join(line.rstrip() for line in lines if not line.startswith("#include <"))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _read(name: str) -> str:
    return (files("hsiedge.native") / "src" / name).read_text()


def _resolved(lines: list[str], macros: Mapping[str, bool | None], seen: set[str]) -> list[str]:
    """Lines with what is known of their conditions decided, and headers in the place of their includes."""
    result: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        include = _INCLUDE.match(line)
        if line.startswith("#if"):
            end = _end(lines, at)
            result += _group(lines[at : end + 1], macros, seen)
            at = end
        elif include and include[1] not in seen:
            seen.add(include[1])
            result += _resolved(_read(include[1]).splitlines(), macros, seen)
        elif not include and not re.match(r"#define HS_(NET|KERNELS|STREAM)_H", line):
            result.append(line)
        at += 1
    return result


def _end(lines: list[str], first: int) -> int:
    """The #endif of the #if at `first`."""
    depth = 0
    for at in range(first, len(lines)):
        depth += lines[at].startswith("#if") - lines[at].startswith("#endif")
        if depth == 0:
            return at
    raise AssertionError(f"{lines[first]}: no #endif")


def _branches(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Each condition of an #if, and the lines under it."""
    branches: list[tuple[str, list[str]]] = []
    depth = 0
    for line in lines[:-1]:
        depth += line.startswith("#if")
        if depth == 1 and re.match(r"#(if|el)", line):
            branches.append((line, []))
        else:
            branches[-1][1].append(line)
        depth -= line.startswith("#endif")
    return branches


def _group(lines: list[str], macros: Mapping[str, bool | None], seen: set[str]) -> list[str]:
    """One #if with its branches: those that are false left out, and all behind one that is true."""
    result: list[str] = []
    for head, body in _branches(lines):
        value = _value(head, macros)
        if value is False:
            continue
        inner = _resolved(body, macros, seen)
        if value:
            return [*result, "#else", *inner, "#endif"] if result else inner
        result += [head if result else head.replace("#elif", "#if"), *inner]
    return [*result, "#endif"] if result else []


def _value(head: str, macros: Mapping[str, bool | None]) -> bool | None:
    """Whether a branch is taken; None where only the compiler knows."""
    word, _, condition = head.split("/*")[0].strip().partition(" ")
    if word == "#else":
        return True
    names = set(_NAME.findall(condition))
    if any(not name.startswith("HS_") or macros.get(name, False) is None for name in names):
        return None
    holds = any(all(_holds(atom, macros) for atom in term.split("&&")) for term in condition.split("||"))
    return not holds if word == "#ifndef" else holds


def _holds(atom: str, macros: Mapping[str, bool | None]) -> bool:
    (name,) = _NAME.findall(atom)
    return bool(macros.get(name, False)) != atom.strip().startswith("!")
