"""The paraphrase attack on a real OpenAI-compatible server: `transformers serve` with a small model made here, through
the official client, with a proxy between them that makes trouble and counts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.attacks.paraphrasers import make_paraphraser
from engine.endpoints.client import Ask, Endpoint
from engine.endpoints.ledger import Ledger
from engine.endpoints.settings import EndpointSettings
from engine.errors import BudgetSpent, GeneratorError
from engine.snippets import refusals
from tests.acceptance.endpoint_attack import POLICY, SEEDS, Lexicon, attack, config
from tests.acceptance.faulty_proxy import Fault, Passage, Proxy, faulty_proxy
from tests.acceptance.tiny_chat_model import ANSWER, write_chat_model
from tests.acceptance.transformers_server import missing, transformers_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    with transformers_server(write_chat_model(folder / "tiny"), folder / "log") as base_url:
        yield base_url


@pytest.fixture
def proxy(upstream: str) -> Iterator[Proxy]:
    with faulty_proxy(upstream) as running:
        yield running


def tokens_told(passages: list[Passage]) -> int:
    """What the server says that its answers took."""
    return sum(passage.answer["usage"]["total_tokens"] for passage in passages if passage.fate == "answered")


def kept(folder: Path) -> set[str]:
    """The requests whose answers are kept, by the names that the proxy gives them."""
    requests = [json.loads(path.read_text())["request"] for path in folder.glob("??/*.json")]
    for request in requests:
        del request["url"], request["api"]
    return {json.dumps(request, sort_keys=True) for request in requests}


def test_refusals_stalls_and_breakdowns_end_in_candidates_and_each_request_is_paid_once(
    proxy: Proxy, tmp_path: Path
) -> None:
    faults: dict[int, Fault] = {2: "busy", 4: "broken", 7: "stall"}
    proxy.fault_of = lambda number: faults.get(number % 9)
    ledger = Ledger("first")
    outcome = attack(proxy.base_url, tmp_path, ledger)

    assert len(outcome.candidates) >= len(SEEDS)
    assert {candidate.seed_index for candidate in outcome.candidates} == set(range(len(SEEDS)))
    candidates = [candidate.snippet for candidate in outcome.candidates]
    assert all(refusals(snippet, POLICY.snippet_rules) == [] for snippet in candidates)
    assert (Lexicon().logits(candidates) < 0).all()
    assert min(proxy.count(fault) for fault in ("busy", "broken", "stall")) >= 2

    assert set(proxy.answers.values()) == {1}
    assert set(proxy.answers) == kept(tmp_path)
    told = ledger.spending
    assert (told.requests, told.reused, told.tokens) == (len(proxy.answers), 0, tokens_told(proxy.passed))
    assert told.by_model["tiny"].estimated == 0
    for refused in (passage for passage in proxy.passed if passage.fate == "busy"):
        later = [other.began for other in proxy.passed if other.name == refused.name and other.began > refused.ended]
        # `Retry-After: 1`
        assert min(later) - refused.ended >= 0.9

    arrived = proxy.arrived
    owners = [Ledger("second"), Ledger("first")]
    assert [attack(proxy.base_url, tmp_path, again)[:3] for again in owners] == [outcome[:3]] * 2
    assert proxy.arrived == arrived
    assert (owners[0].spending.requests, owners[0].spending.tokens) == (0, 0)
    assert owners[0].spending.reused == told.requests
    assert owners[1].spending == told


def test_a_budget_of_tokens_holds_on_what_the_server_counts(proxy: Proxy, tmp_path: Path) -> None:
    ledger = Ledger(tokens=8_000)
    paraphraser = make_paraphraser("openai", POLICY, config(proxy.base_url), ledger, cache_dir=tmp_path)

    def buy_on() -> None:
        for seed in range(200):
            paraphraser.paraphrase(SEEDS[0], 2, seed=seed)

    with pytest.raises(BudgetSpent):
        buy_on()
    assert 0 < ledger.spending.tokens == tokens_told(proxy.passed) <= 8_000
    # All was bought but what one request might have taken: its prompt's bytes, and two answers at full length.
    largest = max(len(json.dumps(passage.body["messages"])) for passage in proxy.passed) + 2 * 150 + 16 * 10 + 64
    assert ledger.spending.tokens > 8_000 - largest


def test_a_killed_run_goes_on_without_paying_twice_and_ends_as_one_that_was_not(proxy: Proxy, tmp_path: Path) -> None:
    undisturbed = attack(proxy.base_url, tmp_path / "other", Ledger("other"), concurrency=1)
    total = len(proxy.passed)
    proxy.passed.clear()

    folder = tmp_path / "killed"
    given = {"base_url": proxy.base_url, "folder": str(folder), "owner": "job 7", "concurrency": 1}
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.endpoint_attack", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    deadline = time.monotonic() + 120
    while proxy.count("answered") < 5 and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    while proxy.under_way:
        # The server must have done with it, or its chance would get mixed with the next one's.
        time.sleep(0.01)
    finished = kept(folder)
    assert 4 <= len(finished) < total

    ledger = Ledger("job 7")
    assert attack(proxy.base_url, folder, ledger, concurrency=1)[:3] == undisturbed[:3]
    assert all(proxy.answers[name] == 1 for name in finished)
    # The one under way when it was killed was asked again, and no other.
    assert sum(proxy.answers.values()) + proxy.count("lost") <= total + 1
    assert kept(folder) == set(proxy.answers)
    spending = ledger.spending
    assert (spending.requests, spending.reused) == (total, 0)
    once = {passage.name: passage for passage in proxy.passed if passage.fate == "answered"}
    assert spending.tokens == tokens_told(list(once.values()))


def test_the_completions_api_goes_on_from_a_raw_prompt_and_is_counted(proxy: Proxy) -> None:
    asked = config(proxy.base_url, api="completions", price={"input": 1, "output": 2})
    ledger = Ledger(money=1.0)
    passage = f"<passage>\n<context>\n{SEEDS[0].prompt}\n</context>\n<last>\n{SEEDS[0].completion}\n</last>\n</passage>"
    (text,) = Endpoint(EndpointSettings.model_validate(asked), ledger).ask(Ask(passage + ANSWER, 1, seed=3))
    assert text.startswith("<context>\n")
    usage = proxy.passed[0].answer["usage"]
    assert ledger.spending.money == pytest.approx((usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6)


def test_a_model_that_is_not_served_is_told_in_the_servers_words(upstream: str) -> None:
    paraphraser = make_paraphraser("openai", POLICY, config(upstream, model="other", max_retries=0))
    with pytest.raises(GeneratorError, match="Server is pinned to 'tiny'; requested 'other'") as caught:
        paraphraser.paraphrase(SEEDS[0], 1, seed=1)
    assert caught.value.permanent
