"""Text that scripts put into documents, each piece between two marks of its own."""

from __future__ import annotations


def put_between(text: str, name: str, piece: str) -> str:
    """The document with this piece between ``<!-- NAME: start -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: the marks are not there.
    """
    marks = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
    before, start, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise ValueError(f"the document needs a line {marks[0].strip()} and a line {marks[1]}")
    return f"{before}{start}\n{piece}\n{end}{after}"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A table of Markdown, its first column to the left."""
    rules = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rules, *lines))
