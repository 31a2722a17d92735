"""Which completion becomes what, where some break the policy's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.snippets import Snippet as SnippetText
from tests.driving import new_round
from webapi.models import Pool, Snippet, SplitName
from workers.generate import Drawn, _pools
from workers.round_settings import round_settings

pytestmark = pytest.mark.django_db


def test_test_snippets_are_those_of_the_prompts_with_alternates(tmp_path: Path) -> None:
    round_ = new_round(tmp_path)
    prompts = [Snippet(policy=round_.policy, prompt=f"Prompt {n}.", split="test") for n in range(6)]
    often = {row.pk for row in prompts[:3]}
    # The second prompt's completion broke the rules, so it was not drawn.
    drawn = [
        Drawn(row, SnippetText(row.prompt, f"She sang song number {n}.")) for n, row in enumerate(prompts) if n != 1
    ]
    wanted = round_settings({"sizes": {"test": 3, "seeds": 2}})
    pools = _pools(round_, wanted, SplitName.TEST, drawn, often)
    tested = {one.prompt.pk for one in drawn if pools.get(one.text.content_hash) == Pool.TEST}
    assert tested == {prompts[0].pk, prompts[2].pk}
