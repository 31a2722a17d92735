"""What requests cost, who paid them, and budgets that hold."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.attacks.paraphrasers import check_paraphraser
from engine.endpoints.cache import RequestCache
from engine.endpoints.client import Ask, Endpoint
from engine.endpoints.ledger import Ledger, ModelSpending, Payment, Spending
from engine.endpoints.prices import Price, listed_price
from engine.endpoints.settings import EndpointSettings
from engine.endpoints.usage import most_usage
from engine.errors import BadInput, BudgetSpent, EngineError, GeneratorError
from tests.engine.openai_server import Reply, error, openai_server

ONCE = Ask("Once.", 1, seed=1)
MOST = 5 + 16 + 64 + 32
"""Tokens that ONCE may take: its bytes, a message, a request, and 32 of the answer. The server says 10 and 5."""
PRICE = {"input": 2.0, "output": 10.0}
COST = (10 * 2.0 + 5 * 10.0) / 1e6
MOST_COST = ((MOST - 32) * 2.0 + 32 * 10.0) / 1e6


@pytest.fixture
def server():
    with openai_server() as running:
        yield running


def endpoint(server, ledger=None, cache_dir=None, **changes):
    known = {"model": "tiny", "base_url": server.base_url, "key_variable": None, "max_retries": 0, **changes}
    return Endpoint(EndpointSettings(**known), ledger, cache_dir)


def asks(n):
    return [ONCE._replace(seed=i) for i in range(n)]


def test_a_request_costs_what_the_server_says(server):
    ledger = Ledger()
    endpoint(server, ledger, price=PRICE).ask(ONCE)
    endpoint(server, ledger, model="other").ask(ONCE._replace(n=3))
    told = ledger.spending
    assert told.by_model == {
        "other": ModelSpending(1, 0, 0, 10, 15, None),
        "tiny": ModelSpending(1, 0, 0, 10, 5, pytest.approx(COST)),
    }
    assert (told.requests, told.reused, told.tokens, told.money) == (2, 0, 40, None)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 10},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": "10", "completion_tokens": "5"},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        "much",
    ],
)
def test_without_a_usage_that_can_be_true_the_most_is_counted_and_marked(server, usage):
    server.usage = lambda body, texts: usage
    server.answer = lambda body, choice: "née"
    ledger = Ledger()
    endpoint(server, ledger, price=PRICE).ask(ONCE._replace(n=2))
    # A token a byte of the prompt, what a template may add, and of each answer its four bytes and an end.
    money = ((5 + 16 + 64) * 2 + 2 * (4 + 1) * 10) / 1e6
    assert ledger.spending.by_model == {"tiny": ModelSpending(1, 0, 1, 85, 10, pytest.approx(money))}


def test_an_estimate_is_not_above_what_was_allowed(server):
    server.usage = lambda body, texts: None
    server.answer = lambda body, choice: "x" * 1000
    ledger = Ledger()
    endpoint(server, ledger).ask(ONCE)
    assert ledger.spending.tokens == MOST


@pytest.mark.parametrize(
    ("tokens", "made"), [(0, 0), (MOST - 1, 0), (MOST, 1), (MOST + 14, 1), (MOST + 15, 2), (MOST + 15 * 9, 10)]
)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_of_tokens_holds_to_the_request_however_many_run_at_once(server, tokens, made, concurrency):
    ledger = Ledger(tokens=tokens)
    asking = endpoint(server, ledger, concurrency=concurrency)
    with pytest.raises(BudgetSpent, match=f"of {tokens} tokens are spent, and one request more can take {MOST}") as end:
        asking.ask_all(asks(40))
    assert (end.value.what, end.value.code, end.value.permanent) == ("tokens", "budget_spent", True)
    assert isinstance(end.value, EngineError)
    assert len(server.requests) == made
    assert ledger.spending.tokens == 15 * made <= tokens


@pytest.mark.parametrize(("money", "made"), [(0, 0), (MOST_COST * 0.999, 0), (MOST_COST, 1), (MOST_COST + 2 * COST, 3)])
def test_a_budget_of_money_holds_to_the_request(server, money, made):
    ledger = Ledger(money=money)
    with pytest.raises(BudgetSpent, match=r"are spent, and one request more can cost \$0\.0005") as end:
        endpoint(server, ledger, price=PRICE, concurrency=4).ask_all(asks(20))
    assert end.value.what == "money"
    assert len(server.requests) == made
    assert ledger.spending.money == pytest.approx(made * COST)


def test_a_server_of_ones_own_takes_no_money(server):
    ledger = Ledger(money=0)
    endpoint(server, ledger, price={"input": 0, "output": 0}).ask_all(asks(3))
    assert (ledger.spending.requests, ledger.spending.money) == (3, 0)


def test_a_failed_request_costs_nothing_and_gives_its_room_back(server):
    server.script = [error(500, "no"), Reply(body="<html>"), error(400, "no", code="content_filter")]
    ledger = Ledger(tokens=MOST)
    asking = endpoint(server, ledger)
    for _ in range(2):
        with pytest.raises(GeneratorError):
            asking.ask(ONCE)
    assert asking.ask(ONCE) == []
    assert ledger.spending == Spending({})
    asking.ask(ONCE)
    assert ledger.spending.tokens == 15


def test_a_request_that_is_tried_again_is_paid_once(server):
    server.script = [error(429, "wait", retry_after_ms="10"), error(500, "wait", retry_after_ms="10")]
    ledger = Ledger()
    endpoint(server, ledger, max_retries=2).ask(ONCE)
    assert len(server.requests) == 3
    assert (ledger.spending.requests, ledger.spending.tokens) == (1, 15)


def test_more_than_was_held_ends_the_budget_at_once(server):
    server.usage = lambda body, texts: {"prompt_tokens": 10, "completion_tokens": 10_000}
    ledger = Ledger(tokens=1000)
    asking = endpoint(server, ledger)
    asking.ask(ONCE)
    with pytest.raises(BudgetSpent):
        asking.ask(ONCE)
    assert len(server.requests) == 1
    assert ledger.spending.tokens == 10_010


def test_what_an_earlier_attempt_of_the_same_owner_paid_counts_again_before_anything_is_asked(server, tmp_path):
    first = Ledger("job 1")
    endpoint(server, first, tmp_path, price=PRICE).ask_all(asks(3))
    again = Ledger("job 1", tokens=45 + MOST)
    asking = endpoint(server, again, tmp_path, price=PRICE)
    assert (
        again.spending == first.spending == Spending({"tiny": ModelSpending(3, 0, 0, 30, 15, pytest.approx(3 * COST))})
    )
    asking.ask_all(asks(4))
    asking.ask_all(asks(4))
    assert (again.spending.requests, again.spending.reused, again.spending.tokens) == (4, 0, 60)
    assert len(server.requests) == 4
    with pytest.raises(BudgetSpent):
        asking.ask(ONCE._replace(seed=4))


@pytest.mark.parametrize(("payer", "reader"), [("job 1", "job 2"), ("", "job 2"), ("job 1", ""), ("", "")])
def test_what_somebody_else_paid_costs_nothing_and_is_counted_once(server, tmp_path, payer, reader):
    endpoint(server, Ledger(payer), tmp_path).ask_all(asks(3))
    ledger = Ledger(reader, tokens=0)
    asking = endpoint(server, ledger, tmp_path)
    asking.ask_all(asks(3))
    asking.ask_all(asks(2))
    assert ledger.spending == Spending({"tiny": ModelSpending(reused=3)})
    assert (ledger.spending.requests, ledger.spending.tokens, ledger.spending.money) == (0, 0, 0)
    assert len(server.requests) == 3


def test_own_requests_asked_again_are_neither_paid_nor_reused_again(server, tmp_path):
    ledger = Ledger()
    endpoint(server, ledger, tmp_path).ask_all(asks(2))
    endpoint(server, ledger, tmp_path).ask_all(asks(2))
    assert ledger.spending.by_model["tiny"][:3] == (2, 0, 0)
    assert len(server.requests) == 2


def test_two_endpoints_of_one_ledger_count_its_earlier_requests_once(server, tmp_path):
    endpoint(server, Ledger("job 1"), tmp_path, model="a").ask(ONCE)
    endpoint(server, Ledger("job 1"), tmp_path, model="b").ask(ONCE)
    ledger = Ledger("job 1")
    for model in ("a", "b", "a"):
        endpoint(server, ledger, tmp_path, model=model)
    assert {name: row.requests for name, row in ledger.spending.by_model.items()} == {"a": 1, "b": 1}


def test_a_killed_run_that_named_a_request_and_kept_no_answer_asks_again(server, tmp_path):
    endpoint(server, Ledger("job 1"), tmp_path).ask(ONCE)
    (kept,) = tmp_path.rglob("*.json")
    kept.unlink()
    ledger = Ledger("job 1")
    endpoint(server, ledger, tmp_path).ask(ONCE)
    assert (ledger.spending.requests, len(server.requests)) == (1, 2)


def test_of_two_that_pay_for_the_same_the_first_one_has_paid_for_what_is_kept(tmp_path):
    cache = RequestCache(tmp_path)
    payments = [Payment("tiny", 10, 5, None, owner=owner) for owner in ("job 1", "job 2")]
    kept = [cache.put({"a": 1}, [payment.owner], payment) for payment in payments]
    assert [(one.texts, one.payment) for one in kept] == [(["job 1"], payments[0])] * 2
    assert [one.payment for one in cache.paid_by("job 1")] == payments[:1]
    assert [*cache.paid_by("job 2"), *cache.paid_by("job 3")] == []


def test_files_from_before_payments_were_kept_are_read(server, tmp_path):
    endpoint(server, None, tmp_path).ask(ONCE)
    (kept,) = tmp_path.rglob("*.json")
    content = json.loads(kept.read_text())
    assert content.pop("paid") == Payment("tiny", 10, 5, None)._asdict()
    for paid in ({}, {"paid": None}, {"paid": "much"}, {"paid": {"model": "tiny"}}):
        kept.write_text(json.dumps({**content, **paid}))
        ledger = Ledger("job 1")
        assert endpoint(server, ledger, tmp_path).ask(ONCE) == content["texts"]
        assert ledger.spending == Spending({"tiny": ModelSpending(reused=1)})
    assert len(server.requests) == 1


def test_money_without_a_price_is_refused_at_once_and_says_how_to_give_one(server):
    with pytest.raises(
        BadInput, match=r"the price of tiny is not known.*price = \{ input = \.\.\., output = \.\.\. \}"
    ):
        endpoint(server, Ledger(money=1.0))
    config = {"model": "tiny", "base_url": server.base_url}
    with pytest.raises(BadInput, match="the price of tiny is not known"):
        check_paraphraser("openai", config, money=1.0)
    check_paraphraser("openai", config)
    check_paraphraser("openai", {**config, "price": PRICE}, money=1.0)
    check_paraphraser("openai", {"model": "gpt-4o-mini"}, money=1.0)
    check_paraphraser("embedded", {}, money=1.0)
    with pytest.raises(BadInput, match=r"price\.output: must be at least 0"):
        check_paraphraser("openai", {**config, "price": {"input": 0, "output": -1}})
    assert server.requests == []


def test_listed_prices_are_the_sellers_own_and_ours_win():
    home = "https://api.openai.com/v1"
    assert listed_price("gpt-4o-mini", home) == Price(input=0.15, output=0.6)
    assert listed_price("gpt-4o-mini-2024-07-18", home) == Price(input=0.15, output=0.6)
    assert listed_price("gpt-4o-2024-08-06", home) == Price(input=2.5, output=10)
    assert listed_price("gpt-4o-audio", home) is None
    assert listed_price("gpt-4o-mini", "http://127.0.0.1:8000/v1") is None
    assert EndpointSettings(model="gpt-4o-mini").known_price == Price(input=0.15, output=0.6)
    assert EndpointSettings(model="gpt-4o-mini", price=PRICE).known_price == Price(**PRICE)
    assert Price(input=2, output=10).of(1_000_000, 500_000) == 7.0


def test_spending_adds_up_and_survives_json():
    one = Spending({"a": ModelSpending(1, 2, 1, 30, 40, 0.5), "b": ModelSpending(1, 0, 0, 1, 1, None)})
    two = Spending({"a": ModelSpending(2, 0, 0, 3, 4, 0.25), "c": ModelSpending(reused=4)})
    both = one.plus(two)
    assert both.by_model == {
        "a": ModelSpending(3, 2, 1, 33, 44, 0.75),
        "b": ModelSpending(1, 0, 0, 1, 1, None),
        "c": ModelSpending(0, 4, 0, 0, 0, 0.0),
    }
    assert (both.requests, both.reused, both.tokens, both.money, two.money) == (4, 6, 79, None, 0.25)
    assert Spending.from_dict(json.loads(json.dumps(both.as_dict()))) == both
    assert both.as_dict()["a"] == {
        "requests": 3, "reused": 2, "estimated": 1, "prompt_tokens": 33, "completion_tokens": 44, "money": 0.75,
    }  # fmt: skip
    assert Spending().plus(one) == one
    assert (Spending().money, Spending().tokens) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(costs=st.lists(st.integers(1, 50), min_size=1, max_size=40), budget=st.integers(0, 400))
def test_no_mix_of_threads_overdraws_a_budget(costs, budget):
    ledger = Ledger(tokens=budget)
    most = Payment("m", 25, 25, None)
    seen = []

    def buy(cost):
        try:
            with ledger.reserve(most) as settle:
                settle(Payment("m", 0, cost, None))
                seen.append(ledger.spending.tokens)
        except BudgetSpent:
            return 0
        return cost

    with ThreadPoolExecutor(6) as pool:
        bought = sum(pool.map(buy, costs))
    assert ledger.spending.tokens == bought <= budget
    assert all(tokens <= budget for tokens in seen)
    # Whoever was turned away found less than one request's room; nothing of it is held any more.
    if bought < sum(costs):
        assert budget - bought < 50


def test_one_that_can_never_fit_does_not_wait_for_those_under_way():
    ledger = Ledger(tokens=100)
    with ledger.reserve(Payment("m", 60, 0, None)):
        with pytest.raises(BudgetSpent):
            ledger.reserve(Payment("m", 101, 0, None)).__enter__()
        waiting = threading.Thread(target=lambda: ledger.reserve(Payment("m", 50, 0, None)).__enter__())
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE, as the models behind most endpoints have."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(["the old man and the sea"] * 20, trainer)
    return made


@settings(max_examples=200)
@given(text=st.text(max_size=200))
def test_the_estimate_of_a_prompt_is_never_too_low_for_a_byte_level_tokenizer(tokenizer, text):
    body = {"messages": [{"role": "user", "content": text}], "n": 3}
    most = most_usage(body, 7)
    # The pre-tokenizer sets a space before the first word.
    assert len(tokenizer.encode(text).ids) <= most.prompt_tokens - 16 - 64 + 1
    assert most.completion_tokens == 21
    assert most_usage({"prompt": text, "n": 1}, 7).prompt_tokens == len(text.encode()) + 64
