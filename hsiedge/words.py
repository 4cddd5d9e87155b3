"""Words from files, which are data: what a terminal, a header or a picture would obey never reaches it."""

from __future__ import annotations

from unicodedata import category

LONGEST_NAME = 80
LONGEST_LINE = 1000


def printable(text: str, *, mark: str = "\ufffd") -> str:
    """Text of one line, in which what is not to be seen is `mark`, and a blank of any width a space.

    Not to be seen are control characters, line ends, halves of surrogate pairs, marks that change the direction of writing.
    """
    if text.isprintable():
        return text
    blanks = {character: " " if category(character) == "Zs" else mark for character in set(text) if not character.isprintable()}
    return "".join(blanks.get(character, character) for character in text)


def shown(name: object, most: int = LONGEST_NAME) -> str:
    """A name as it is shown: printable, and where it has more than `most` characters, without those in its middle."""
    text, tail = str(name), most // 3
    return printable(text if len(text) <= most else f"{text[: most - tail - 1]}\u2026{text[-tail:]}")
