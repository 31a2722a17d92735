"""Runs of sentences cut from a section of a story: prompt, then completion (paper, A.1.2 and A.1.3, 2).

A sentence ends at a full stop, as the paper counts: "." and nothing else, so "Mr." ends one and "Run!" does not.
Marks that close a sentence after its stop (quotes, brackets, the other dots of an ellipsis) belong to it. Inside a
prompt they stay, and each dot counts. At the end of a prompt or completion they are dropped, because the rules allow
no text after the last full stop; they never open the next sentence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from engine.snippets import Snippet, SnippetRules, cut_completion

PROMPT_SENTENCES = 3
"""Where the rules do not say."""

_CLOSING = re.compile(r"[.\"'\u201d\u2019)\]}\u00bb*_]*")
_SPACE = re.compile(r"(?:\s|--|\u2014)*")


class Window(NamedTuple):
    """A run of sentences as a snippet, and where in the section it lies."""

    snippet: Snippet
    start: int
    end: int
    """Where the next sentence starts."""
    whole_sentences: bool
    """Whether prompt and completion end where a word ends, not inside "3.5" or "www.example.org"."""


def window_at(section: str, start: int, rules: SnippetRules) -> Window | None:
    """The window whose prompt starts at `start`, or None when the section ends before it does. O(window)."""
    wanted = PROMPT_SENTENCES if rules.prompt_sentences is None else rules.prompt_sentences
    prompt_stop = nth_stop(section, start, wanted)
    if prompt_stop is None:
        return None
    middle = sentence_after(section, prompt_stop) if wanted else start
    stop = _completion_stop(section, middle, rules.completion_min_chars or 0)
    if stop is None:
        return None
    snippet = Snippet(section[start:prompt_stop].strip(), cut_completion(section[middle:stop], rules))
    whole = _ends_word(section, stop) and (not wanted or _ends_word(section, prompt_stop))
    return Window(snippet, start, sentence_after(section, stop), whole)


def nth_stop(section: str, start: int, n: int) -> int | None:
    """One past the n-th full stop from `start`; `start` for n = 0; None when there are fewer."""
    end = start
    for _ in range(n):
        end = section.find(".", end) + 1
        if not end:
            return None
    return end


def sentence_after(section: str, end: int) -> int:
    """Where the sentence starts that follows the one whose full stop ends at `end`."""
    closed = _CLOSING.match(section, end)
    space = _SPACE.match(section, closed.end() if closed else end)
    return space.end() if space else end


def _completion_stop(section: str, start: int, least: int) -> int | None:
    """One past the first full stop with `least` characters before it, white space counted once."""
    end = section.find(".", start) + 1
    while end and end - start <= 8 * least + 80 and len(" ".join(section[start : end - 1].split())) < least:
        end = section.find(".", end) + 1
    return end or None


def _ends_word(section: str, end: int) -> bool:
    closed = _CLOSING.match(section, end)
    at = closed.end() if closed else end
    return at == len(section) or section[at].isspace() or section[at] in "-\u2014"
