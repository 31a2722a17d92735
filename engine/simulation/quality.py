"""A simulated taste: how well a completion goes on from its prompt, by plain signs in the text. Simulated; it measures
nothing that people were asked about, and knows of no policy."""

from __future__ import annotations

import re

from engine.snippets import Snippet

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_PLAIN = 4
"""Letters from which on a word is taken to say something of its own."""
_FULL = 12
"""Words of a completion that is long enough."""
WORST, REPEATED, FITS, LENGTH, STRANGER = 0.25, 0.1, 0.4, 0.3, 0.1


def liking(snippet: Snippet) -> float:
    """How good the completion is, in [0, 1]: 0 for none, low for one that repeats a sentence of its prompt.

    Better the more of its words go on with what the prompt spoke of and the nearer it comes to a dozen words; worse for
    each name that nobody mentioned. Any text; O(characters).
    """
    words = _WORD.findall(snippet.completion)
    if not words:
        return 0.0
    if snippet.completion.strip().rstrip(".") in snippet.prompt:
        return REPEATED
    known = {word.lower() for word in _WORD.findall(snippet.prompt)}
    telling = {word.lower() for word in words if len(word) >= _PLAIN or word[0].isupper()}
    shared = len(telling & known) / max(1, min(len(telling), 3))
    strangers = sum(word[0].isupper() and word.lower() not in known for word in words[1:])
    value: float = WORST + FITS * min(1.0, shared) + LENGTH * min(1.0, len(words) / _FULL) - STRANGER * strangers
    return min(1.0, max(0.0, value))
