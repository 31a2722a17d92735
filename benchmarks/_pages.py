"""Measured tables in a page of the documentation: what stands between two marks is replaced, the rest is people's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = "label-efficiency.md"


def fill(page: Path, mark: str, text: str) -> None:
    """Puts the text between `<!-- mark -->` and `<!-- /mark -->`. Raises ValueError unless each is there once."""
    content = page.read_text(encoding="utf-8")
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if content.count(start) != 1 or content.count(end) != 1 or content.index(start) > content.index(end):
        raise ValueError(f"{page} does not hold {start} and {end} once each, in this order")
    before, _, rest = content.partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, the first column left, the others right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
