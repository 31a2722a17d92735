"""A snippet is a prompt and a completion; here are its hash, its split and the rules that make one valid."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_SHARES = (0.6, 0.1, 0.3)
"""One for the whole project: a text must land in the same split whoever brings it in."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """What a classifier judges and an annotator reads."""

    prompt: str
    completion: str

    @property
    def text(self) -> str:
        """Prompt and completion as one reads them."""
        return f"{self.prompt} {self.completion}".strip()

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the NFC-normalised text with runs of white space made one; stable across machines."""
        return hashlib.sha256(_hashed_bytes(self.prompt, self.completion)).hexdigest()


class SnippetRules(BaseModel):
    """What makes a snippet valid, as data of a policy. Defaults: the paper, A.1.2-A.1.3.

    `None` switches a rule off; so does `false`, because TOML has no null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_sentences: int | None = Field(3, ge=0)
    """Full stops in the prompt, exactly; no text after the last."""
    completion_min_chars: int | None = Field(16, ge=0)
    """Characters of any kind before the completion's first counted full stop, which ends it."""
    max_chars: int | None = Field(1200, ge=1)
    max_tokens: int | None = Field(256, ge=4)
    """By the classifier's own tokenizer, special tokens included."""
    min_letters: int | None = Field(8, ge=0)
    """Letters (`str.isalpha`) in the prompt, or in the completion where prompts are not wanted."""
    language: str | None = "en"
    """ISO 639-1 code; checked where snippets are sampled from a corpus, not on every hand-written one."""

    @field_validator("*", mode="before")
    @classmethod
    def _false_is_off(cls, value: object) -> object:
        return None if value is False else value


class Refusal(NamedTuple):
    """Why a snippet is not valid: a stable code and a sentence."""

    code: str
    detail: str


def refusals(
    snippet: Snippet, rules: SnippetRules, *, count_tokens: Callable[[Snippet], int] | None = None
) -> list[Refusal]:
    """All reasons why `snippet` breaks `rules`, empty if it is valid. O(characters), plus one tokenisation.

    The token rule is checked only when `count_tokens` is given and nothing cheaper already refused.
    """
    checks = (_null_bytes, _surrogates, _prompt_shape, _completion_shape, _length, _letters)
    found = [refusal for check in checks if (refusal := check(snippet, rules))]
    if not found and count_tokens and rules.max_tokens is not None:
        tokens = count_tokens(snippet)
        if tokens > rules.max_tokens:
            found.append(Refusal("too_many_tokens", f"{tokens} tokens, at most {rules.max_tokens}"))
    return found


def cut_completion(text: str, rules: SnippetRules) -> str:
    """The valid completion at the start of raw generator output (paper, A.1.3 step 4).

    Cut after the first full stop that has `completion_min_chars` characters before it; a full stop is added where
    there is none. White space is made single; an empty text stays empty.
    """
    text = _normalise(text)
    if rules.completion_min_chars is None or not text:
        return text
    stop = text.find(".", rules.completion_min_chars)
    return text[: stop + 1] if stop >= 0 else text.rstrip(".") + "."


def split_of(root_hash: str, shares: Sequence[float] = SPLIT_SHARES) -> Split:
    """The split of everything that derives from the snippet with this content hash: train, validation or test.

    A pure function of the root's hash, so that a rewrite or paraphrase can never land in another split than its seed.
    `shares` are the three splits' parts of the whole and sum to 1.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be three non-negative numbers that sum to 1, not {shares!r}")
    position = int(hashlib.sha256(f"split:{root_hash}".encode()).hexdigest()[:12], 16) / 16**12
    if position < shares[0]:
        return "train"
    return "validation" if position < shares[0] + shares[1] else "test"


def _hashed_bytes(prompt: str, completion: str) -> bytes:
    # A lone surrogate can come in by JSON; its snippet is refused, but must first be named by a hash.
    return f"{_normalise(prompt)}\x1f{_normalise(completion)}".encode(errors="surrogatepass")


def _normalise(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def _null_bytes(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    if "\x00" in snippet.prompt or "\x00" in snippet.completion:
        return Refusal("null_byte", "contains a null byte")
    return None


def _surrogates(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    if re.search("[\ud800-\udfff]", snippet.prompt + snippet.completion):
        return Refusal("lone_surrogate", "contains half of a surrogate pair, which is no character")
    return None


def _prompt_shape(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    wanted = rules.prompt_sentences
    if wanted is None:
        return None
    prompt = snippet.prompt.strip()
    stops = prompt.count(".")
    if stops != wanted:
        return Refusal("prompt_sentences", f"prompt has {stops} full stops, exactly {wanted} are wanted")
    if wanted and not prompt.endswith("."):
        return Refusal("prompt_tail", "prompt has text after its last full stop")
    return None


def _completion_shape(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    completion = snippet.completion.strip()
    if not completion:
        return Refusal("empty_completion", "completion is empty")
    least = rules.completion_min_chars
    if least is None:
        return None
    if len(completion) <= least:
        return Refusal("short_completion", f"completion has {len(completion)} characters, more than {least} are wanted")
    if completion.find(".", least) != len(completion) - 1:
        return Refusal("completion_stop", f"completion must end at its first full stop after {least} characters")
    return None


def _length(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    chars = len(snippet.text)
    if rules.max_chars is not None and chars > rules.max_chars:
        return Refusal("too_long", f"{chars} characters, at most {rules.max_chars}")
    return None


def _letters(snippet: Snippet, rules: SnippetRules) -> Refusal | None:
    text = snippet.prompt if rules.prompt_sentences != 0 else snippet.completion
    letters = sum(map(str.isalpha, text))
    if rules.min_letters is not None and letters < rules.min_letters:
        return Refusal("few_letters", f"{letters} letters, at least {rules.min_letters} are wanted")
    return None
