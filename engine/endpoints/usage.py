"""How many tokens a request can take, and how many the server says that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

_A_MESSAGE = 16
"""Tokens that a chat template may put around one message: roles and separators."""
_A_REQUEST = 64
"""Tokens that it may put around all of them: a start, a system text of its own, the cue to answer."""


class Usage(NamedTuple):
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int


def most_usage(body: Mapping[str, Any], max_tokens: int) -> Usage:
    """The most tokens a request can take: one for each byte of UTF-8, what a chat template may add, and all answers
    at full length.

    Every token of the usual tokenizers (byte-level BPE, SentencePiece with byte fallback) stands for a byte at least,
    so this is a limit, four times too high for English. It fails where a template adds more, or where a server counts
    hidden reasoning beyond `max_tokens`.
    """
    messages = body.get("messages", [])
    text = "".join([body.get("prompt", ""), *(message["content"] for message in messages)])
    prompt = len(text.encode("utf-8", "replace")) + _A_MESSAGE * len(messages) + _A_REQUEST
    return Usage(prompt, max_tokens * int(body["n"]))


def likely_most(most: Usage, texts: Sequence[str]) -> Usage:
    """The most that an answer with these texts took where no usage is told: a token a byte, and one to end each."""
    return Usage(most.prompt_tokens, min(most.completion_tokens, sum(len(t.encode()) + 1 for t in texts)))


def told_usage(answer: object) -> Usage | None:
    """What the server says; None where it says nothing, or nothing that can be true."""
    usage = getattr(answer, "usage", None)
    prompt, completion = (getattr(usage, name, None) for name in Usage._fields)
    return Usage(prompt, completion) if _count(prompt) and _count(completion) and prompt + completion else None


def _count(told: object) -> TypeGuard[int]:
    return type(told) is int and 0 <= told < 2**40
