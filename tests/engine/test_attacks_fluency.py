"""Language models' likelihoods against transformers' own loss, and the constraint made of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    T5Config,
)

from engine.attacks import language_models
from engine.attacks.language_models import LanguageModel, Likelihood, language_model, load_head
from engine.attacks.rewrite.fluency import drop, edited_tokens
from engine.attacks.rewrite.recipes import make_recipe
from engine.attacks.rewrite.search import rewrite_search
from engine.attacks.substitution import make_candidate_source
from engine.attacks.substitution.suggest import SubstitutionEngine
from engine.errors import BadInput, MissingModel
from engine.snippets import Snippet
from tests.engine.test_attacks_rewrite import SEEDS, Words, engine_in, target, threshold_of
from tests.engine.tiny_encoders import CONFIGS, VOCABULARY, write_encoder, write_language_model

PROMPT = "The old man walked to the hall. They rested."
SNIPPETS = [
    Snippet(PROMPT, "The baker stabbed a girl in the yard."),
    Snippet(PROMPT, "The baker greeted a girl."),
    Snippet("", "An old knight walked to the mill."),
    Snippet(PROMPT, "Они ушли \U0001f600."),
]


def by_loss(folder: Path, kind: str, snippet: Snippet) -> tuple[float, list[int]]:
    """The log-likelihood by transformers' mean loss over the labels, and the completion's tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt, own = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (snippet.prompt, snippet.completion)
    )
    if kind == "causal":
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        ids = torch.tensor([[2, *prompt, *own]])
        labels = torch.tensor([[-100] * (1 + len(prompt)) + own])
        with torch.inference_mode():
            return -float(model(input_ids=ids, labels=labels).loss) * len(own), own
    model, total = AutoModelForMaskedLM.from_pretrained(folder).eval(), 0.0
    for place in range(len(own)):
        ids = torch.tensor([[2, *prompt, *own, 3]])
        labels = torch.full_like(ids, -100)
        at = 1 + len(prompt) + place
        labels[0, at], ids[0, at] = own[place], VOCABULARY.index("[MASK]")
        with torch.inference_mode():
            total -= float(model(input_ids=ids, labels=labels).loss)
    return total, own


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_likelihoods_are_those_of_transformers_loss(tmp_path: Path, kind: str) -> None:
    model = LanguageModel(str(write_language_model(tmp_path, kind)))
    assert model.kind == kind
    found = model.likelihoods(SNIPPETS)
    for snippet, one in zip(SNIPPETS, found, strict=True):
        nats, tokens = by_loss(tmp_path, kind, snippet)
        assert one.nats == pytest.approx(nats, abs=1e-3)
        assert list(one.tokens) == tokens
    assert len({round(one.nats, 3) for one in found}) == 4
    alone = [model.likelihoods([snippet])[0] for snippet in SNIPPETS]
    assert [one.nats for one in alone] == pytest.approx([one.nats for one in found], abs=1e-4)
    assert model.likelihoods([]) == []


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_the_prompt_matters_and_an_empty_completion_is_nothing(tmp_path: Path, kind: str) -> None:
    model = LanguageModel(str(write_language_model(tmp_path, kind)))
    with_prompt, without, empty, blank = model.likelihoods(
        [SNIPPETS[0], Snippet("", SNIPPETS[0].completion), Snippet(PROMPT, ""), Snippet("", " ")]
    )
    assert with_prompt.tokens == without.tokens
    assert abs(with_prompt.nats - without.nats) > 0.01
    assert empty == blank == Likelihood(0.0, ())


@pytest.mark.parametrize(("kind", "around"), [("causal", 1), ("masked", 2)])
def test_what_is_too_long_loses_the_prompts_beginning_then_the_completions_end(
    tmp_path: Path, kind: str, around: int
) -> None:
    model = LanguageModel(str(write_language_model(tmp_path, kind)))
    completion = "The baker stabbed a girl."
    room = 64 - around - 6
    words = ("old man " * 50).split()
    fits = Snippet(" ".join(words[-room:]), completion)
    longer = Snippet("Girl girl " + " ".join(words[-room:]), completion)
    assert model.likelihoods([longer])[0].nats == pytest.approx(model.likelihoods([fits])[0].nats, abs=1e-4)
    long = model.likelihoods([Snippet(PROMPT, "The old man walked. " * 30)])[0]
    assert len(long.tokens) == 64 - around
    assert math.isfinite(long.nats)


def test_without_a_token_that_begins_a_text_the_first_one_is_left_out(tmp_path: Path) -> None:
    model = LanguageModel(str(write_language_model(tmp_path, "causal", begins=None)))
    assert len(model.likelihoods([SNIPPETS[2]])[0].tokens) == 7
    assert model.likelihoods([Snippet("", "baker")]) == [Likelihood(0.0, ())]


def test_the_drop_is_the_loss_an_edited_token_beside_a_text_of_that_length() -> None:
    seed = Likelihood(-12.0, (5, 6, 7, 8))
    assert drop(seed, Likelihood(-15.0, (5, 9, 7, 8))) == 3.0
    assert drop(seed, Likelihood(-15.0, (5, 9, 7, 4))) == 1.5
    assert drop(seed, Likelihood(-9.0, (5, 9, 7, 8))) == -3.0
    assert drop(seed, Likelihood(-17.0, (5, 6, 9, 7, 8))) == 2.0  # five tokens at the seed's 3 nats
    assert drop(seed, Likelihood(-10.0, (5, 6, 8))) == 1.0
    assert drop(seed, seed) == 0.0
    assert drop(Likelihood(0.0, ()), seed) == 0.0


def test_edited_tokens_are_those_put_in_taken_out_or_replaced() -> None:
    assert edited_tokens((1, 2, 3), (1, 2, 3)) == 0
    assert edited_tokens((1, 2, 3), (1, 9, 8, 3)) == 2
    assert edited_tokens((1, 2, 3, 4), (1, 4)) == 2
    assert edited_tokens((1, 2), (1, 2, 7)) == 1
    assert edited_tokens((), (1, 2)) == 2


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_what_a_search_finds_loses_no_more_than_it_may(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_language_model(tmp_path / "model", kind))
    engine = engine_in(tmp_path / "victim")
    whole = target(engine, threshold_of(engine))
    loose = rewrite_search(SEEDS, engine, whole, make_recipe("beam", {"constraints": {}}))
    model = language_model(folder)
    asked: list[int] = []
    answered = model.likelihoods
    monkeypatch.setattr(model, "likelihoods", lambda snippets: asked.append(len(snippets)) or answered(snippets))
    config = {"constraints": {"fluency": {"model": folder, "most_drop": 0.5}}}
    scored: list[int] = []
    for model_of, name in ((engine._classifier, "logits"), (engine._white_box, "gradients")):
        plain = getattr(model_of, name)
        monkeypatch.setattr(model_of, name, lambda s, plain=plain: scored.append(len(s)) or plain(s))
    fresh = SubstitutionEngine(engine._white_box, engine._classifier, Words())
    found = rewrite_search(SEEDS, fresh, whole, make_recipe("beam", config))
    assert found.queries == sum(scored), "reading for fluency is no query"
    for one in found.candidates:
        assert drop(*answered([SEEDS[one.seed_index], one.snippet])) <= 0.5 + 1e-4
    lost = [drop(*answered([SEEDS[one.seed_index], one.snippet])) for one in loose.candidates]
    assert found.candidates
    assert max(lost) > 0.5, "else the limit keeps nothing out"
    assert asked[0] == 5 + 5 * 8, "the searches ask together, seeds and their first eight"


def test_a_model_that_is_not_there_is_told_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_in(tmp_path)
    whole = target(engine, threshold_of(engine))
    monkeypatch.setattr(engine, "logits", lambda snippets: pytest.fail("asked"))
    recipe = make_recipe("beam", {"constraints": {"fluency": {"model": str(tmp_path / "nowhere")}}})
    with pytest.raises(MissingModel, match="nowhere"):
        rewrite_search(SEEDS, engine, whole, recipe)


def test_a_model_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_language_model(tmp_path, "masked"))
    first = language_model(folder)
    monkeypatch.setattr(language_models, "load_head", lambda *arguments: pytest.fail("loaded again"))
    assert language_model(folder) is first


def test_what_predicts_no_words_is_refused_and_so_is_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        MissingModel, match=r"^language model '.*nowhere' could not be loaded: .*network `hf download REPO"
    ):
        LanguageModel(str(tmp_path / "nowhere"))
    bare = write_encoder(tmp_path / "bare")
    with pytest.raises(BadInput, match="predicts no words: it is a BertModel"):
        LanguageModel(str(bare))
    with pytest.raises(BadInput, match="no weights for the head"):
        make_candidate_source("masked_lm", {"model": str(bare)})
    T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(tmp_path / "t5")
    with pytest.raises(BadInput, match="T5ForConditionalGeneration"):
        LanguageModel(str(tmp_path / "t5"))


def test_debertas_own_head_is_found_whatever_its_configuration_says(tmp_path: Path) -> None:
    write_encoder(tmp_path, "deberta")
    config = DebertaV2Config(**{**CONFIGS["deberta"].to_dict(), "legacy": False})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DebertaV2ForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, "legacy": True}))
    ids = torch.tensor([[2, 5, 6, 4, 3]])
    with torch.inference_mode():
        loaded = load_head(str(tmp_path), "masked")(input_ids=ids).logits
        assert torch.allclose(loaded, model(input_ids=ids).logits, atol=1e-5)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "dense" not in k or "lm_head" not in k}, tmp_path / "model.safetensors"
    )
    with pytest.raises(BadInput, match="no weights for the head"):
        load_head(str(tmp_path), "masked")
