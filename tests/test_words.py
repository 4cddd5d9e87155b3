"""Words from files reach nobody raw."""

from __future__ import annotations

import pytest

from hsiedge.words import printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wässer (tief)", "Wässer (tief)"),
        ("a\x1b[31m\x07\x9b5m\0", "a\ufffd[31m\ufffd\ufffd5m\ufffd"),
        ("a\nlines = 1\r\u2028b\tc", "a\ufffdlines = 1\ufffd\ufffdb\ufffdc"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("abc\u202egnp.exe\u2066", "abc\ufffdgnp.exe\ufffd"),
        ("12\u202f000\xa0m", "12 000 m"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(text, mark="?") == expected.replace("\ufffd", "?")
    expected.encode()


def test_overlong_names_lose_their_middle() -> None:
    assert shown("a" * 80) == "a" * 80
    name = "begin" + "x" * 10_000_000 + "\x1bend"
    assert len(shown(name)) == 80
    assert (shown(name)[:5], shown(name)[-4:]) == ("begin", "\ufffdend")
    assert "\u2026" in shown(name)
    assert shown(None) == "None"
