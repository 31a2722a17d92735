"""Rewordings of a whole sentence: clauses change places, connectives change, speech tags turn round.

Each function takes one sentence of narrative (its full stop and white space included or not) and gives it reworded, or
None where it has nothing to offer. None adds or removes a full stop.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SUBJECT = r"(?:he|she|it|they|we|I|you|the|a|an|his|her|their|there|[A-Z][a-z]+)"
_SUBORDINATOR = r"after|when|while|before|because|although|though|if|until|once|as soon as"
_FRONTED = re.compile(rf"^({_SUBORDINATOR}) ([^,;:\"\u201c]+), ({_SUBJECT} [^,;:\"\u201c]+?)(\.?)$", re.IGNORECASE)
_TRAILING = re.compile(
    r"^([A-Z][^,;:\"\u201c]*?\w) (after|when|while|before|because|although|until) "
    r"((?:he|she|it|they|we|I|you|the|his) [^,;:\"\u201c]+?)(\.?)$"
)
_NO_SPLIT_AFTER = frozenset(
    {"the", "day", "time", "moment", "that", "and", "but", "just", "even", "or", "ever", "than"}
)
_NO_SPLIT_AFTER |= {
    "long",
    "soon",
    "not",
    "only",
    "night",
    "hour",
    "year",
    "place",
    "was",
    "is",
    "were",
    "after",
    "before",
}
_NO_SPLIT_AFTER |= {"until", "till", "how", "know", "knew", "what", "who", "say", "said"}
_PARTICIPLE_FIRST = re.compile(r"^([A-Z][a-z]+ing [^,;:\"\u201c]+), ((?:he|she|they|it|I|we) [^,;:\"\u201c]+?)(\.?)$")
_PLACE_FIRST = re.compile(
    r"^((?:In|At|On|During|Under|For|Without|Near|Behind|Beside) [^,;:\"\u201c]{3,45}), "
    r"((?:he|she|they|it|I|we|the|a|an|his|her) [^,;:\"\u201c]+?)(\.?)$"
)
_ADVERB_INSIDE = re.compile(r"^(He|She|They|It|We|I) (suddenly|quickly|slowly|soon|then|immediately|quietly|finally) ")
_ADVERB_FIRST = re.compile(
    r"^(Suddenly|Quickly|Slowly|Soon|Immediately|Quietly|Finally),? (he|she|they|it|we|I) (?!was|were|had|is|are)"
)
_THERE = re.compile(r"^There (?:was|lived) (an? [\w ]{3,30}?) who ", re.IGNORECASE)
_CLAUSE = r"(?:he|she|it|they|we|I|you|there|the|his|her|their|my) \w"
_NAME = r"(?:(?:the|his|her|my) [a-z]+|[A-Z][a-z]+)"
_SAID_NAME = re.compile(rf"([,?!][\"\u201d']) (said|asked|cried|replied|answered|exclaimed) ({_NAME})(?=[.,;])")
_NAME_SAID = re.compile(rf"([,?!][\"\u201d']) ({_NAME}) (said|asked|cried|replied|answered|exclaimed)(?=[.,;])")
_LOWER_FIRST = frozenset({"He", "She", "It", "They", "We", "You", "The", "A", "An", "His", "Her", "Their", "There"})
_LOWER_FIRST |= {"This", "That", "These", "Those", "One", "Some"}


def front_to_back(sentence: str) -> str | None:
    """`After X, Y.` -> `Y after X.`; a name in X and a pronoun in Y change places too."""
    match = _FRONTED.match(sentence)
    if match is None or re.search(r" (?:and|but|then) ", match.group(3)):
        return None
    word, first, second, stop = match.groups()
    first, second = _swap_subjects(first, second)
    return f"{_upper(second)} {word.lower()} {first}{stop}"


def back_to_front(sentence: str) -> str | None:
    """`Y after X.` -> `After X, Y.`"""
    match = _TRAILING.match(sentence)
    if match is None or re.search(r" (?:and|but|that|as|who|which) ", f" {match.group(3)} "):
        return None
    first, word, second, stop = match.groups()
    if first.rsplit(" ", 1)[-1].lower() in _NO_SPLIT_AFTER or " " not in first or _starts_with_connective(first):
        return None
    second, first = _swap_subjects(second, _lower(first), back=True)
    return f"{word.capitalize()} {second}, {first}{stop}"


def participle_last(sentence: str) -> str | None:
    """`Taking X, he Y.` -> `He Y, taking X.`"""
    match = _PARTICIPLE_FIRST.match(sentence)
    if match is None:
        return None
    first, second, stop = match.groups()
    return f"{_upper(second)}, {first[0].lower()}{first[1:]}{stop}"


def place_last(sentence: str) -> str | None:
    """`In X, he Y.` -> `He Y in X.`"""
    match = _PLACE_FIRST.match(sentence)
    if match is None or re.search(r" (?:and|but|who|which|that|when) ", match.group(2)):
        return None
    first, second, stop = match.groups()
    return f"{_upper(second)} {first[0].lower()}{first[1:]}{stop}"


def adverb_moves(sentence: str) -> str | None:
    """`He suddenly Y` <-> `Suddenly he Y`."""
    match = _ADVERB_INSIDE.match(sentence)
    if match is not None:
        return f"{match.group(2).capitalize()} {_lower(match.group(1))} {sentence[match.end() :]}"
    match = _ADVERB_FIRST.match(sentence)
    if match is not None:
        return f"{_upper(match.group(2))} {match.group(1).lower()} {sentence[match.end() :]}"
    return None


def there_was(sentence: str) -> str | None:
    """`There was a king who had` -> `A king had`."""
    match = _THERE.match(sentence)
    return None if match is None else f"{_upper(match.group(1))} {sentence[match.end() :]}"


def speech_tag_turns(sentence: str) -> str | None:
    """`," said John.` <-> `," John said.`"""
    for pattern, order in ((_SAID_NAME, r"\1 \3 \2"), (_NAME_SAID, r"\1 \3 \2")):
        turned, count = pattern.subn(order, sentence)
        if count:
            return turned
    return None


def connective(find: str, put: str) -> Callable[[str], str | None]:
    """A rewording that replaces the first `find` outside quotes by `put`, where a new clause follows."""
    pattern = re.compile(f"{find}(?={_CLAUSE})")

    def change(sentence: str) -> str | None:
        if re.search(r"[\"\u201c]", sentence):
            return None
        changed, count = pattern.subn(put, sentence, count=1)
        return changed if count else None

    return change


REWORDINGS: tuple[Callable[[str], str | None], ...] = (
    front_to_back,
    back_to_front,
    participle_last,
    place_last,
    adverb_moves,
    there_was,
    speech_tag_turns,
    connective(", but ", ", yet "),
    connective(", but ", "; however, "),
    connective("; but ", ", but "),
    connective(", and then ", "; then "),
    connective(" and then ", " and afterwards "),
    connective(", and ", "; and "),
    connective("; and ", ", and "),
    connective(", so ", ", and so "),
    connective(", for ", ", because "),
    connective("; for ", ", because "),
    connective("; then ", ", and then "),
)
"""All, in no order of merit."""


def reworded(sentence: str) -> list[str]:
    """All rewordings of one sentence, each by one rule. O(characters x rules)."""
    core = sentence.strip()
    return [new for rule in REWORDINGS if (new := rule(core)) is not None and new.count(".") == core.count(".")]


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _lower(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if first in _LOWER_FIRST else text


def _starts_with_connective(text: str) -> bool:
    return text.split(" ", 1)[0] in {
        "And",
        "But",
        "So",
        "Then",
        "For",
        "Yet",
        "Or",
        "When",
        "If",
        "As",
        "After",
        "What",
        "Why",
    }


def _swap_subjects(first: str, second: str, *, back: bool = False) -> tuple[str, str]:
    """A name that opens the clause coming later goes to the clause coming first, the pronoun there takes its place."""
    source, target = (second, first) if back else (first, second)
    name = re.match(r"[A-Z][a-z]+(?= [a-z]+)", source)
    pronoun = re.match(r"(?:he|she)(?= )", target)
    if name is None or pronoun is None or name.group() in _LOWER_FIRST or name.group() == "I":
        return first, second
    source, target = pronoun.group() + source[name.end() :], name.group() + target[pronoun.end() :]
    return (target, source) if back else (source, target)
