"""From a story's file to its prose: no preamble, contents, headings or notes; one line a paragraph (paper, A.1.3, 1).

Heuristics, as in the paper ("a/n" signals a preamble, "END" a postamble), widened to Project Gutenberg's books. They
take away most of what is not story, and now and then a line that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ZONE = 4000
"""Characters at either end of a story in which a signal of pre- or postamble cuts off all beyond it."""

_MARKER = r"^[ \t]*\*{2,}[ \t]*%s[ \t]+OF[ \t]+(?:THE|THIS)[ \t]+PROJECT[ \t]+GUTENBERG[^\n]*$"
_START = re.compile(_MARKER % "START", re.I | re.M)
_STOP = re.compile(_MARKER % "END" + r"|^[ \t]*End of (?:the )?Project Gutenberg[^\n]*$", re.I | re.M)

_PREAMBLE = re.compile(
    r"^\W*(?:a\s?/\s?n\b|author'?s?'?s? notes?\b|disclaimers?\b|summary\b|rat(?:ed|ing)\b|pairings?\b|warnings?\b"
    r"|genres?\b|fandoms?\b|beta(?:'?ed)?\b(?= ?:| by)|title ?:|author ?:)|\bi (?:do not|don'?t) own\b",
    re.I,
)
_POSTAMBLE = re.compile(
    r"^\W*(?:(?:the )?end|fin|finis|tbc|to be continued)\W*$|^\W*(?:a\s?/\s?n\b|author'?s? notes?\b|end ?notes?\b)"
    r"|\b(?:please|pls) (?:r ?& ?r|read and review|review)\b|^\W*(?:r ?& ?r|review)\W*$",
    re.I,
)
_NOTE = re.compile(
    r"^\W*(?:transcribers?'?s?|preparer'?s?|editor'?s?|etext|e-text) notes?\b|^\W*the e-?(?:book|text) was\b"
    r"|^\W*(?:produced|prepared|edited|translated|illustrated|transcribed|printed|scanned) (?:by|in)\b"
    r"|^\W*copyright\b|\ball rights reserved\b|\bproject gutenberg\b|^\W*a\s?/\s?n\b"
    r"|^\[?(?:illustration|footnote)\b|^(?:\(\d{1,3}\)|\[\d{1,3}\])\s",
    re.I,
)
_CONTENTS = re.compile(r"^\W*(?:table of )?contents\W*$", re.I)
_MATTER = re.compile(
    r"^\W*(?:(?:author'?s|translator'?s|editor'?s) )?(?:preface|foreword|introduction|dedication|note|notes|footnotes"
    r"|glossary|index|appendix|bibliography|acknowledge?ments)\W*$|^\W*(?:transcriber|preparer)'?s'? notes?\W*$",
    re.I,
)
_NUMBER = r"(?:[ivxlcdm]+|\d+|the\s+\w+|one|two|three|four|five|six|seven|eight|nine|ten|first|last)\b"
_CHAPTER = re.compile(
    rf"^\W*(?:chapter|part|book|volume|vol\.?|epoch|act|scene|canto|section|letter|episode)\s+{_NUMBER}"
    rf"|^\W*(?:prologue|epilogue|interlude)\W*$|^(?:[ivxlc]+|\d+)\W*$",
    re.I,
)
_NUMBERED = re.compile(r"^\d{1,3}[.)]?\s+[A-Z][^.!?]*$")
_RULE = re.compile(r"^[\W_xo]*$", re.I)
_FOOTNOTE_MARK = re.compile(r"(?<=[^\s(\[])[ ]?(?:\(\d{1,2}\)|\[\d{1,3}\])")
_EMPHASIS = re.compile(r"(?<!\w)([_*]{1,3})(?=\S)(.{1,300}?)(?<=\S)\1(?!\w)")
_ASIDE = re.compile(r"\[(?:illustration|footnote)\b[^\]]{0,500}\]", re.I)
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u2060\ufeff\u00ad]")


def clean(text: str) -> Iterator[list[str]]:
    """The story's sections (chapters, tales, scenes), each a list of paragraphs on one line. O(characters)."""
    blocks = _blocks(_between_markers(text.replace("\r\n", "\n").replace("\r", "\n")))
    start, stop = _story_span([" ".join(block[:3]) for block in blocks], [sum(map(len, block)) for block in blocks])
    section: list[str] = []
    skipping = ""
    after_heading = False
    for block in blocks[start:stop]:
        joined = " ".join(block)
        heading = _is_heading(block, joined) or (after_heading and _is_title_with_stop(block))
        if heading:
            if section:
                yield section
                section = []
            skipping = _skipped_under(joined, skipping)
        elif _NOTE.search(joined) or skipping == "matter" or (skipping == "contents" and not _is_solid(block, joined)):
            pass
        elif paragraph := _joined_lines(block):
            skipping = ""
            section.append(paragraph)
        after_heading = heading
    if section:
        yield section


def _between_markers(text: str) -> str:
    start = _START.search(text)
    stop = _STOP.search(text, start.end() if start else 0)
    return text[start.end() if start else 0 : stop.start() if stop else len(text)]


def _blocks(text: str) -> list[list[str]]:
    """Paragraphs as lists of lines: apart by blank lines, or each line one where lines are not wrapped."""
    lines = [line for line in text.split("\n") if line.strip()]
    unwrapped = sum(len(line) > 100 for line in lines) > 0.2 * len(lines)
    if unwrapped:
        return [[line.strip()] for line in lines]
    return [[line.strip() for line in block.split("\n") if line.strip()] for block in re.split(r"\n[ \t]*\n\s*", text)]


def _story_span(heads: list[str], sizes: list[int]) -> tuple[int, int]:
    """First block of the story and the first after it, by the signals near either end."""
    total = sum(sizes)
    zone = min(ZONE, 0.4 * total)
    start, stop, before = 0, len(heads), 0
    for i, (head, size) in enumerate(zip(heads, sizes, strict=True)):
        if before < zone and _PREAMBLE.search(head):
            start = i + 1
        elif before > total - zone and _POSTAMBLE.search(head):
            stop = i
            break
        before += size
    return start, stop


def _skipped_under(heading: str, skipping: str) -> str:
    if _CONTENTS.match(heading):
        return "contents"
    if _MATTER.match(heading):
        return "matter"
    return "contents" if skipping == "contents" else ""


def _is_heading(block: list[str], joined: str) -> bool:
    if len(joined) > 120 or len(block) > 3:
        return False
    if _RULE.match(joined) or _CHAPTER.match(joined) or _CONTENTS.match(joined) or _MATTER.match(joined):
        return True
    if joined[0] in "\"'\u201c\u2018":
        return False
    return joined.isupper() or bool(_NUMBERED.match(joined)) or _is_title(joined)


def _is_title(line: str) -> bool:
    """Whether most long words are capitalised and no mark ends the line."""
    if line[-1] in ".!?,;:-\"'\u201d\u2019)\u2014\u2026" or not (line[0].isupper() or line[0].isdigit()):
        return False
    return _is_capitalised(line)


def _is_title_with_stop(block: list[str]) -> bool:
    return len(block) == 1 and len(block[0]) <= 60 and '"' not in block[0] and _is_capitalised(block[0])


def _is_capitalised(line: str) -> bool:
    long: list[str] = [word for word in re.findall(r"[^\W\d_]+", line) if len(word) > 3]
    return 2 * sum(word[0].isupper() for word in long) > len(long)


def _is_solid(block: list[str], joined: str) -> bool:
    """Whether a block is surely prose, not an entry of a table of contents."""
    wide = max(map(len, block)) > 50
    return wide and len(joined) > 150 and joined[-1] in ".!?\"'\u201d\u2019:;-" and ". . ." not in joined


def _joined_lines(block: list[str]) -> str:
    text = "\n".join(block)
    text = re.sub(r"(?<=\w)-\n(?=\w)", "-", text)
    text = _ASIDE.sub(" ", _CONTROL.sub("", text))
    text = _FOOTNOTE_MARK.sub("", _EMPHASIS.sub(r"\2", " ".join(text.split())))
    return text.strip()
