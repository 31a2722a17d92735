from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from engine.classifiers import Recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("dropout", 1),
        ("warmup", 1.5),
        ("trainable_layers", 0),
        ("upsample_cap", 0.5),
        ("max_tokens", 2),
        ("precision", "fp8"),
        ("encoder", ""),
        ("layers", 3),
        ("weight_decay", math.inf),
        ("weight_decay", 1e30),
        ("max_grad_norm", math.inf),
        ("upsample_cap", math.inf),
        ("batch_size", 10**30),
        ("accumulate", 10**30),
        ("seed", 2**63),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize("field", ["weight", "init", "step_size"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
def test_sift_moves_by_numbers_that_arithmetic_can_hold(field: str, value: float) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"sift": {field: value}})
    assert [error["loc"] for error in caught.value.errors()] == [("sift", field)]


def test_a_recipe_survives_its_own_json_and_does_not_change() -> None:
    recipe = Recipe(trainable_layers=None, learning_rate=4e-6, seed=3)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    with pytest.raises(ValidationError):
        recipe.seed = 4  # type: ignore[misc]


def test_the_papers_values_that_are_defaults() -> None:
    assert (Recipe().upsample_cap, Recipe().dropout, Recipe().max_tokens) == (5.0, 0.3, 256)
