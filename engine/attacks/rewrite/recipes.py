"""Rewrite searches as data: a recipe is a line, and any of its fields may be set otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.attacks.rewrite.fluency import FluencySettings
from engine.attacks.rewrite.moves import MOVES
from engine.attacks.rewrite.searches import SEARCHES
from engine.config import Named, checked
from engine.errors import UnknownName


class Limits(BaseModel):
    """The constraints by their names in `constraints.py`; one without a value is not asked (methods E.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edited_share: float | None = Field(None, ge=0, le=1)
    keeps_words: bool | None = None
    similarity: float | None = Field(None, ge=-1, le=1)
    fluency: FluencySettings | None = None
    """No language model comes with this project, so no recipe has it: name one where it is wanted."""


class Recipe(BaseModel):
    """What is changed, within which limits, and in which order it is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: str = "beam"
    moves: tuple[str, ...] = Field(("clause", "replace", "insert", "delete"), min_length=1)
    constraints: Limits = Limits(edited_share=0.3, keeps_words=True, similarity=0.8)
    candidates: int = Field(24, ge=1)
    """Words a place."""
    tried: int = Field(24, ge=1)
    """Proposals of a step that are tried: those that the constraints allow are scored."""
    width: int = Field(4, ge=1)
    """States that are followed at a time."""
    max_edits: int = Field(6, ge=1)
    give_up: float = Field(0.5, ge=0, le=1)
    """The search promising_first gives a seed up whose first tries came no nearer to the threshold than this share of
    its distance; 1: never. Replacing words in 180 seeds of the story world, 0.5 solves 154 instead of 158 with 15 %
    fewer queries a success.
    """
    wanted: int = Field(3, ge=1)
    """Rewritings of one seed; its search ends with the last."""

    @field_validator("search")
    @classmethod
    def _is_a_search(cls, value: str) -> str:
        return _known(value, "search", SEARCHES)

    @field_validator("moves")
    @classmethod
    def _are_moves(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_known(name, "move", MOVES) for name in value)


def _known(name: str, kind: str, registry: Mapping[str, object]) -> str:
    if name not in registry:
        raise ValueError(str(UnknownName(kind, name, registry)))
    return name


RECIPES: dict[str, dict[str, Any]] = {
    "greedy": {"width": 1},
    "beam": {},
    "best_first": {"search": "best_first"},
    "substitution": {"search": "promising_first", "width": 1, "moves": ["replace"]},
    "filler": {"moves": ["filler"], "max_edits": 2, "constraints": {"similarity": 0.7}},
}
"""Name -> what is not as in `Recipe`'s defaults."""


class RewriteSettings(Recipe):
    """A recipe, and what it is cooked with."""

    words: Named = Named(name="nearest_words")
    """Where candidates for a place come from."""
    at_once: int = Field(16, ge=1)
    """Seeds searched side by side, so that classifier batches are full."""


def rewrite_settings(config: Mapping[str, Any], *, recipe: str = "beam", where: str) -> RewriteSettings:
    """A recipe by name (`recipe` in `config`, else the one given) with some fields set otherwise. Raises as below."""
    name = config.get("recipe", recipe)
    if not isinstance(name, str) or name not in RECIPES:
        raise UnknownName("recipe", str(name), RECIPES)
    own = {key: value for key, value in config.items() if key != "recipe"}
    return checked(RewriteSettings, {**RECIPES[name], **own}, where=where)


def make_recipe(name: str, config: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name with some fields set otherwise. Raises UnknownName or BadInput naming the field."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    return checked(Recipe, {**RECIPES[name], **(config or {})}, where=f"recipe {name}")
