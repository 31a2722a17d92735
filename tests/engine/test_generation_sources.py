import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from engine.endpoints.ledger import Ledger
from engine.errors import BadInput, GeneratorError, MissingModel, UnknownName
from engine.generation import GENERATORS, check_generator, make_generator
from engine.generation.continuing import Continuing, Redrawn, Suffixes
from engine.generation.filling import fill
from engine.generation.nearest import NearestContinuations
from engine.policies import load_policy
from engine.snippets import Snippet, SnippetRules, cut_completion
from tests.engine.openai_server import error, openai_server

POLICY = load_policy("injury")
PROMPTS = ["The ship sailed. The sea was calm. Tom slept.", "A fox ran. The wood was dark. Anna hid."]


@pytest.fixture(scope="module")
def tiny_gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(PROMPTS, vocab_size=280, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "generator"
    told = [Snippet(f"{p} It was day {i}.", f"Then something happened on day {i}.") for p in PROMPTS for i in range(20)]
    NearestContinuations.fit(told, POLICY.snippet_rules).save(folder)
    return folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-test")
    with openai_server() as running:
        running.answer = lambda body, choice: f"number {choice} of seed {body['seed']} it was. And then"
        yield running


@pytest.fixture
def configs(tiny_gpt2, fitted, server):
    return {
        "nearest_continuations": {"directory": str(fitted)},
        "causal_lm": {"model": str(tiny_gpt2), "batch_size": 4, "device": "cpu"},
        "openai": {"model": "tiny", "base_url": server.base_url, "key_variable": "TEST_KEY", "choices_per_request": 3},
    }


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_keeps_the_contract(name, configs):
    generator = make_generator(name, POLICY, configs[name])
    told = []
    found = generator.complete(PROMPTS, 5, seed=1, progress=lambda d, t: told.append((d, t)))
    assert [len(texts) for texts in found] == [5, 5]
    assert all(text and cut_completion(text, POLICY.snippet_rules) == text for texts in found for text in texts)
    assert all(len(set(texts)) > 1 for texts in found)
    assert generator.complete(PROMPTS, 5, seed=1) == found
    assert generator.complete(PROMPTS, 5, seed=2) != found
    assert generator.complete([], 5, seed=1) == []
    assert generator.complete(PROMPTS, 0, seed=1) == [[], []]
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_names_the_wrong_setting_and_not_its_value(name, configs):
    with pytest.raises(BadInput, match=f"generator {name}: .*surprise") as caught:
        make_generator(name, POLICY, {**configs[name], "surprise": "sk-secret"})
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(BadInput) as early:
        check_generator(name, {**configs[name], "surprise": "sk-secret"})
    assert str(early.value) == str(caught.value)
    check_generator(name, configs[name])


def test_a_check_needs_neither_a_model_nor_torch():
    code = (
        "import sys; from engine.generation import check_generator; "
        "check_generator('causal_lm', {'model': 'nobody/no-such-model'}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_generator_is_told_the_known_ones():
    with pytest.raises(UnknownName, match="known: causal_lm, nearest_continuations, openai"):
        make_generator("gpt9", POLICY, {})
    with pytest.raises(UnknownName, match="known: causal_lm, nearest_continuations, openai"):
        check_generator("gpt9", {})


def test_a_missing_model_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingModel, match="hf download nobody/no-such-model") as caught:
        make_generator("causal_lm", POLICY, {"model": "nobody/no-such-model", "device": "cpu"})
    assert "nearest_continuations" in str(caught.value)
    with pytest.raises(MissingModel, match="cannot load the causal LM"):
        make_generator("causal_lm", POLICY, {"model": str(tmp_path), "device": "cpu"})


def test_a_causal_lm_in_pickled_weights_is_refused(tiny_gpt2, tmp_path):
    for path in tiny_gpt2.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingModel, match="safetensors"):
        make_generator("causal_lm", POLICY, {"model": str(tmp_path), "device": "cpu"})


def test_a_causal_lm_reads_the_end_of_a_long_prompt_and_leaves_the_global_seed_alone(tiny_gpt2):
    generator = make_generator("causal_lm", POLICY, {"model": str(tiny_gpt2), "device": "cpu"})
    before = torch.random.get_rng_state()
    long = "A fox ran. " * 60
    texts = generator.complete([long + PROMPTS[0], ""], 2, seed=1)
    assert all(all(row) for row in texts)
    assert generator.complete(["Other words here " * 60 + long + PROMPTS[0], ""], 2, seed=1) == texts
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_causal_lm_that_always_ends_at_once_is_an_error(tiny_gpt2):
    generator = make_generator("causal_lm", POLICY, {"model": str(tiny_gpt2), "device": "cpu"})
    with torch.no_grad():
        generator.model.transformer.ln_f.weight.zero_()
        generator.model.transformer.ln_f.bias.fill_(1.0)
        generator.model.transformer.wte.weight.fill_(-100.0)
        generator.model.transformer.wte.weight[0] = 100.0
    with pytest.raises(GeneratorError, match="answered 2 prompts with nothing"):
        generator.complete(PROMPTS, 2, seed=1)


def test_openai_asks_in_chunks_each_with_its_own_seed(configs, server):
    make_generator("openai", POLICY, configs["openai"]).complete(PROMPTS, 7, seed=1)
    assert sorted(r["n"] for r in server.requests) == [1, 1, 3, 3, 3, 3]
    assert len({r["seed"] for r in server.requests}) == 6
    user = server.requests[0]["messages"][-1]["content"]
    assert user in {f"<story>\n{prompt}\n</story>" for prompt in PROMPTS}


def test_openai_asks_again_where_the_server_gives_one_choice_or_silence(configs, server):
    server.choices_given = lambda body: 1
    found = make_generator("openai", POLICY, configs["openai"]).complete(PROMPTS[:1], 4, seed=1)
    assert len(found[0]) == 4
    assert all(found[0])
    assert sorted(r["n"] for r in server.requests) == [1, 1, 1, 3]
    quiet = iter(["", "", "", "A long enough answer.", "Another long answer.", "A third long answer."])
    server.choices_given = lambda body: body["n"]
    server.answer = lambda body, choice: next(quiet)
    texts = make_generator("openai", POLICY, {**configs["openai"], "concurrency": 1}).complete(PROMPTS[:1], 3, seed=1)
    assert texts == [["A long enough answer.", "Another long answer.", "A third long answer."]]


def test_openai_completions_take_the_raw_prompt_and_drop_its_echo(configs, server):
    server.answer = lambda body, choice: f"{body['prompt']} And so it went on and on."
    generator = make_generator("openai", POLICY, {**configs["openai"], "api": "completions"})
    assert generator.complete(PROMPTS, 1, seed=1) == [["And so it went on and on."]] * 2
    assert {r["prompt"] for r in server.requests} == set(PROMPTS)


def test_openai_that_answers_nothing_or_refuses_is_an_error(configs, server):
    server.answer = lambda body, choice: " \n"
    with pytest.raises(GeneratorError, match="openai \\(tiny\\): answered 2 prompts with nothing"):
        make_generator("openai", POLICY, configs["openai"]).complete(PROMPTS, 2, seed=1)
    server.script = [error(401, "no")] * 50
    with pytest.raises(GeneratorError, match="refused the key in TEST_KEY") as caught:
        make_generator("openai", POLICY, configs["openai"]).complete(PROMPTS, 2, seed=1)
    assert caught.value.permanent


def test_openai_is_not_paid_twice(configs, server, tmp_path):
    mine, theirs = Ledger(), Ledger()
    first = make_generator("openai", POLICY, configs["openai"], ledger=mine, cache_dir=tmp_path)
    again = make_generator("openai", POLICY, configs["openai"], ledger=theirs, cache_dir=tmp_path)
    assert first.complete(PROMPTS, 4, seed=1) == again.complete(PROMPTS, 4, seed=1)
    asked = len(server.requests)
    assert (mine.spending.requests, mine.spending.reused) == (asked, 0)
    assert (theirs.spending.requests, theirs.spending.reused, theirs.spending.tokens) == (0, asked, 0)
    kept = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert len(kept) == asked
    assert all(set(entry) == {"request", "texts", "paid"} for entry in kept)


def test_filling_asks_only_for_what_is_short_and_leaves_empty_what_never_comes():
    asked = []

    def draw(prompts, counts, attempt):
        asked.append((list(prompts), list(counts), attempt))
        return [["", "long enough for us. more"] if p == "a" else [""] for p in prompts]

    found = fill(draw, ["a", "b"], 2, SnippetRules(), source="test")
    assert found == [["long enough for us.", "long enough for us."], ["", ""]]
    assert asked == [(["a", "b"], [2, 2], 0), (["a", "b"], [1, 2], 1), (["b"], [2], 2), (["b"], [2], 3)]


def test_a_causal_lm_goes_on_from_a_prefix(tiny_gpt2):
    """Every completion begins with its prefix, is no longer than allowed, and stays once it is whole."""
    made = make_generator("causal_lm", POLICY, {"model": str(tiny_gpt2), "batch_size": 4, "device": "cpu"})
    assert isinstance(made, Continuing)
    first = made.go_on(PROMPTS * 4, [()] * 8, seed=1)
    assert len(set(first)) == 8
    assert all(1 <= len(one) <= made.most_tokens for one in first)
    assert made.go_on(PROMPTS * 4, first, seed=2) == first
    prefixes = [one[:place] for place, one in enumerate(first)]
    on = made.go_on(PROMPTS * 4, prefixes, seed=3)
    assert all(one[: len(prefix)] == prefix for one, prefix in zip(on, prefixes, strict=True))
    assert all(len(one) <= made.most_tokens for one in on)
    assert on != first
    assert on == made.go_on(PROMPTS * 4, prefixes, seed=3)
    assert made.text_of(first[0]) == cut_completion(made.tokenizer.decode(list(first[0])), POLICY.snippet_rules)


def test_a_model_that_reads_no_more_than_it_is_to_say_is_refused(tiny_gpt2):
    with pytest.raises(BadInput, match="max_new_tokens: 64 leave no room for a prompt in the 64 that"):
        make_generator("causal_lm", POLICY, {"model": str(tiny_gpt2), "max_new_tokens": 64})


@pytest.mark.parametrize("kind", [Suffixes, Redrawn])
def test_moves_of_texts_keep_their_distribution(tiny_gpt2, kind):
    """A statistic of the state, over many, is after some moves what it was; and the moves do move."""
    config = {"model": str(tiny_gpt2), "batch_size": 64, "device": "cpu", "max_new_tokens": 4}
    kernel = kind(make_generator("causal_lm", POLICY, config), PROMPTS)
    chance = np.random.default_rng(0)
    states = start = kernel.draw(400, chance)
    for _ in range(3):
        states = kernel.move(states, chance)

    def shares(found):
        texts = [one.snippet for one in found]
        return np.array(
            [np.mean([one.prompt == PROMPTS[0] for one in texts]), np.mean(["e" in one.completion for one in texts])]
        )

    before, after = shares(start), shares(states)
    assert (np.abs(before - after) < 4 * np.sqrt(2 * 0.25 / 400)).all()
    assert sum(one.snippet != two.snippet for one, two in zip(start, states, strict=True)) > 200
