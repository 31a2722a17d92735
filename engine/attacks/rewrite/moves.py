"""How a rewriting may be changed in one step. One function a move; the registry is at the end."""

from __future__ import annotations

from collections.abc import Sequence

from engine.attacks.base import Edit, Kind
from engine.attacks.paraphrasers import clauses
from engine.attacks.rewrite import fillers
from engine.attacks.rewrite.base import Move, State, after_edit
from engine.attacks.substitution.suggest import SubstitutionEngine, Suggestion
from engine.attacks.substitution.words import Slot, gaps, words


def replace(engine: SubstitutionEngine, state: State, candidates: int) -> list[State]:
    """Each word by each of its candidates."""
    slots = [slot for slot in words(state.snippet.completion) if state.is_open(slot)]
    return _after(state, "replace", engine.suggest(state.snippet, slots, k=candidates))


def insert(engine: SubstitutionEngine, state: State, candidates: int) -> list[State]:
    """Something more in each gap; beside what was changed before nothing is put."""
    slots = [slot for slot in gaps(state.snippet.completion) if state.is_open(slot)]
    return _after(state, "insert", engine.suggest(state.snippet, slots, k=candidates))


def delete(engine: SubstitutionEngine, state: State, candidates: int) -> list[State]:
    """One word less, if two remain."""
    if len(words(state.snippet.completion)) < 3:
        return []
    return _after(state, "delete", [one for one in engine.deletions(state.snippet) if state.is_open(one.slot)])


def turn_clauses(engine: SubstitutionEngine, state: State, candidates: int) -> list[State]:
    """The sentence with its clauses or connectives changed, before any word is."""
    if state.edits or state.closed:
        return []
    turned = clauses.reworded(state.snippet.completion)
    return [after_edit(state, "clause", text, 0.0)._replace(closed=()) for text in turned]


def filler(engine: SubstitutionEngine, state: State, candidates: int) -> list[State]:
    """A harmless clause before the sentence and one after it, at most; what happens to whom is as it was."""
    text, done = state.snippet.completion, [edit for edit in state.edits if edit.kind == "filler"]
    unused = [one for one in fillers.fillers() if one not in text.lower()][:candidates]
    made: list[State] = []
    for put in (fillers.before, fillers.after):
        filled = [found for one in unused if (found := put(text, one)) is not None]
        if not filled or any((edit.at == 0) == (filled[0].at == 0) for edit in done):
            continue
        gap = Slot(filled[0].at, filled[0].at)
        estimates = engine.estimates(state.snippet, gap, [one.filler for one in filled])
        made += [after_edit(state, "filler", f.completion, e) for f, e in zip(filled, estimates, strict=True)]
    return [one for one in made if state.is_open(_changed(one.edits[-1]))]


def _after(state: State, kind: Kind, suggestions: Sequence[Suggestion]) -> list[State]:
    made = (after_edit(state, kind, one.snippet.completion, one.estimate) for one in suggestions)
    return [one for one in made if state.is_open(_changed(one.edits[-1]))]  # an article beside it may change as well


def _changed(edit: Edit) -> Slot:
    return Slot(edit.at, edit.at + len(edit.before))


MOVES: dict[str, Move] = {
    "clause": turn_clauses,
    "delete": delete,
    "filler": filler,
    "insert": insert,
    "replace": replace,
}
"""Name -> move."""
