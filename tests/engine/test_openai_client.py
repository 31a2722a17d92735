import logging
import multiprocessing
import os
import signal
import time
import traceback
from dataclasses import replace

import pytest
from pydantic import ValidationError

from engine.endpoints.cache import RequestCache
from engine.endpoints.client import Ask, Endpoint
from engine.endpoints.quoting import fenced
from engine.endpoints.settings import EndpointSettings
from engine.endpoints.side_by_side import side_by_side
from engine.errors import GeneratorError
from tests.engine.openai_server import Reply, error, openai_server

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with openai_server() as running:
        yield running


def endpoint(server, *, ledger=None, cache_dir=None, **changes):
    settings = {"model": "tiny", "base_url": server.base_url, "key_variable": "TEST_KEY", "max_retries": 0, **changes}
    return Endpoint(EndpointSettings(**settings), ledger, cache_dir)


def refusal(server, **changes):
    with pytest.raises(GeneratorError) as caught:
        endpoint(server, **changes).ask(Ask("Once.", 1, seed=1))
    assert KEY not in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


def test_chat_sends_system_examples_and_text_and_reads_all_choices(server):
    server.answer = lambda body, i: f"answer {i}"
    ask = Ask("Now?", 3, seed=7, system="Be brief.", shots=(("Then?", "Yes."),))
    assert endpoint(server, temperature=0.5, max_tokens=9).ask(ask) == ["answer 0", "answer 1", "answer 2"]
    (sent,) = server.requests
    assert sent["path"] == "/v1/chat/completions"
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Then?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Now?"},
    ]
    assert (sent["model"], sent["n"], sent["seed"], sent["temperature"], sent["max_tokens"]) == ("tiny", 3, 7, 0.5, 9)
    assert server.authorizations == [f"Bearer {KEY}"]


def test_completions_sends_the_raw_prompt(server):
    server.answer = lambda body, i: " and on."
    assert endpoint(server, api="completions").ask(Ask("Once.", 1, seed=1)) == [" and on."]
    assert server.requests[0]["path"] == "/v1/completions"
    assert server.requests[0]["prompt"] == "Once."


def test_fields_a_server_refuses_can_be_left_out(server):
    settings = {"send_seed": False, "token_limit_field": "max_completion_tokens"}
    endpoint(server, **settings).ask(Ask("Once.", 1, seed=1))
    assert "seed" not in server.requests[0]
    assert server.requests[0]["max_completion_tokens"] == 32
    assert "max_tokens" not in server.requests[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(server, status):
    server.script = [error(status, "wait", retry_after_ms="10"), error(status, "wait", retry_after_ms="10")]
    assert endpoint(server, max_retries=2).ask(Ask("Once.", 1, seed=1)) == ["Sentence number 0 of the answer. More"]
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "tries"), [(429, 0), (500, 0), (429, 1), (500, 1)])
def test_a_lasting_overload_is_worth_another_try_later(server, status, tries):
    server.script = [error(status, f"busy with {KEY}", retry_after_ms="10")] * 5
    failed = refusal(server, max_retries=tries)
    assert not failed.permanent
    assert str(failed) == f"tiny at 127.0.0.1:{server.base_url.split(':')[2]}: " + str(failed).split(": ", 1)[1]
    assert str(failed).endswith(f"({status})")
    assert len(server.requests) == tries + 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_permanent_names_the_variable_and_is_not_tried_again(server, status, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = [error(status, f"Incorrect API key provided: {KEY}")] * 3
    failed = refusal(server, max_retries=3)
    assert failed.permanent
    assert "refused the key in TEST_KEY" in str(failed)
    assert len(server.requests) == 1
    assert KEY not in caplog.text


def test_an_exhausted_quota_and_a_malformed_request_are_permanent(server):
    server.script = [error(429, "You exceeded your quota", code="insufficient_quota")]
    assert refusal(server).permanent
    server.script = [error(400, f"no such field; key {KEY}")]
    failed = refusal(server)
    assert failed.permanent
    assert "no such field; key [key]" in str(failed)
    server.script = [error(404, "The model `tiny` does not exist")]
    assert refusal(server).permanent
    server.script = [Reply(400, {"detail": f"Server is pinned to 'other'; your key is {KEY}"})]
    assert str(refusal(server)).endswith(": Server is pinned to 'other'; your key is [key] (400)")


def test_an_answer_that_is_not_of_the_openai_shape_is_permanent(server):
    server.script = [Reply(body="<html>hello</html>")]
    assert "not of the OpenAI shape" in str(refusal(server))
    server.script = [Reply(body={"hello": 1})]
    assert refusal(server).permanent
    server.script = [Reply(body='{"choices": [', headers={"Content-Type": "application/json"})]
    assert not refusal(server).permanent


def test_a_slow_server_and_an_unreachable_one_are_not_permanent(server):
    server.script = [Reply(body={}, delay_s=0.5)]
    failed = refusal(server, timeout_s=0.1)
    assert not failed.permanent
    assert str(failed).endswith("no answer within 0.1 s")
    failed = refusal(server, base_url="http://127.0.0.1:9/v1")
    assert not failed.permanent
    assert str(failed) == "tiny at 127.0.0.1:9/v1: not reachable"


def test_a_key_that_is_not_set_or_not_a_key_is_refused_before_any_request(server, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(GeneratorError, match="TEST_KEY is not set"):
        endpoint(server)
    monkeypatch.setenv("TEST_KEY", "sk-sécret key")
    with pytest.raises(GeneratorError, match="odd characters") as caught:
        endpoint(server)
    assert "cret" not in str(caught.value)
    assert server.requests == []


def test_no_key_is_wanted_where_the_variable_is_null(server):
    endpoint(server, key_variable=None).ask(Ask("Once.", 1, seed=1))
    assert server.authorizations == ["Bearer none"]


def test_settings_refuse_a_key_and_a_url_without_scheme():
    with pytest.raises(ValidationError):
        EndpointSettings(model="tiny", api_key=KEY)
    with pytest.raises(ValidationError):
        EndpointSettings(model="tiny", base_url="localhost:8000")


def test_requests_run_side_by_side_up_to_the_cap_and_keep_their_order(server):
    def slow(body, i):
        return body["messages"][0]["content"].upper()

    server.answer = slow
    original = server.reply_to

    def delayed(path, body):
        reply = original(path, body)
        return Reply(reply.status, reply.body, reply.headers, delay_s=0.05)

    server.reply_to = delayed
    asks = [Ask(f"text {i}", 1, seed=i) for i in range(12)]
    told = []
    answers = endpoint(server, concurrency=3).ask_all(asks, progress=lambda d, t: told.append((d, t)))
    assert answers == [[f"TEXT {i}"] for i in range(12)]
    assert 2 <= server.most_at_once <= 3
    assert told[-1] == (12, 12)


def test_the_first_failure_ends_the_rest(server):
    server.script = [replace(error(401, "no"), delay_s=0.05)] * 50
    with pytest.raises(GeneratorError):
        endpoint(server, concurrency=2).ask_all([Ask("x", 1, seed=i) for i in range(50)])
    assert len(server.requests) <= 25


def test_progress_that_raises_stops_the_work():
    def stop(done, total):
        raise KeyboardInterrupt

    started = []
    with pytest.raises(KeyboardInterrupt):
        side_by_side(lambda i: started.append(i) or time.sleep(0.05), range(100), threads=2, progress=stop)
    assert len(started) < 50


def test_a_finished_request_is_not_paid_for_twice(server, tmp_path):
    asks = [Ask(f"text {i}", 2, seed=i) for i in range(4)]
    server.script = []
    first = endpoint(server, cache_dir=tmp_path).ask_all(asks[:3])
    assert endpoint(server, cache_dir=tmp_path, timeout_s=1).ask_all(asks)[:3] == first
    assert len(server.requests) == 4
    endpoint(server, cache_dir=tmp_path, temperature=0.1).ask(asks[0])
    endpoint(server, cache_dir=tmp_path).ask(asks[0]._replace(seed=99))
    assert len(server.requests) == 6
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert len(list(tmp_path.rglob("*"))) - len(list(tmp_path.glob("*"))) == 6


def test_a_failed_run_keeps_what_it_had(server, tmp_path):
    calls = []

    def sometimes(body, i):
        calls.append(1)
        return "fine"

    server.answer = sometimes
    asks = [Ask(f"text {i}", 1, seed=i) for i in range(3)]
    endpoint(server, cache_dir=tmp_path, concurrency=1).ask_all(asks[:2])
    server.script = [error(401, "no")]
    with pytest.raises(GeneratorError):
        endpoint(server, cache_dir=tmp_path, concurrency=1).ask_all(asks)
    assert endpoint(server, cache_dir=tmp_path, concurrency=1).ask_all(asks) == [["fine"]] * 3
    assert len(calls) == 3


def test_the_cache_gives_back_the_first_answer_and_heals_a_broken_file(tmp_path):
    cache = RequestCache(tmp_path)
    assert cache.get({"a": 1, "b": 2}) is None
    assert cache.put({"a": 1, "b": 2}, ["first"]).texts == ["first"]
    assert cache.put({"b": 2, "a": 1}, ["second"]).texts == ["first"]
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"texts": ["half')
    assert cache.get({"a": 1, "b": 2}) is None
    assert cache.put({"a": 1, "b": 2}, ["third"]).texts == ["third"]
    assert cache.get({"a": 1, "b": 2}).texts == ["third"]
    assert not list(tmp_path.rglob("*.part"))


def _write_many(directory, who, results):
    cache = RequestCache(directory)
    results.put({i: cache.put({"request": i}, [f"{who} {i}"]).texts[0] for i in range(60)})


def test_two_processes_agree_on_every_answer(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_write_many, args=(tmp_path, who, results)) for who in ("one", "two")]
    for worker in workers:
        worker.start()
    seen = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert seen[0] == seen[1]
    assert all(RequestCache(tmp_path).get({"request": i}).texts == [seen[0][i]] for i in range(60))


def test_a_killed_run_does_not_pay_twice(server, tmp_path):
    original = server.reply_to

    def delayed(path, body):
        reply = original(path, body)
        return Reply(reply.status, reply.body, reply.headers, delay_s=0.02)

    server.reply_to = delayed
    asks = [Ask(f"text {i}", 1, seed=i) for i in range(30)]

    def run():
        return endpoint(server, cache_dir=tmp_path, concurrency=2).ask_all(asks)

    victim = multiprocessing.get_context("fork").Process(target=run)
    victim.start()
    deadline = time.monotonic() + 20
    while len(server.requests) < 8 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    paid = len(server.requests)
    assert 8 <= paid < 30
    assert run() == [["Sentence number 0 of the answer. More"]] * 30
    # At most the two requests under way were lost.
    assert len(server.requests) <= 30 + 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(GeneratorError, match="cannot keep an answer in"):
        RequestCache(tmp_path).put({"a": 1}, ["x"])


def test_a_cache_folder_that_is_a_file_is_named_before_anything_is_asked(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(GeneratorError, match="cannot keep an answer in") as caught:
        RequestCache(tmp_path / "file").put({"a": 1}, ["x"])
    assert not caught.value.permanent
    with pytest.raises(GeneratorError, match="cannot keep an answer in") as caught:
        endpoint(server, cache_dir=tmp_path / "file")
    assert not caught.value.permanent
    assert server.requests == []


def test_settings_name_no_folder():
    with pytest.raises(ValidationError):
        EndpointSettings(model="tiny", cache_dir="/tmp")


def test_the_same_request_asked_at_once_is_made_once(server, tmp_path):
    server.reply_to = slowly(server, 0.1)
    both = endpoint(server, cache_dir=tmp_path, concurrency=4).ask_all([Ask("x", 1, seed=1)] * 4)
    assert both == [["Sentence number 0 of the answer. More"]] * 4
    assert len(server.requests) == 1


def slowly(server, seconds):
    original = server.reply_to

    def delayed(path, body):
        return replace(original(path, body), delay_s=seconds)

    return delayed


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_text_that_a_filter_declines_has_no_answers_and_is_not_asked_again(server, tmp_path, code):
    server.script = [error(400, "filtered", code=code)]
    asking = endpoint(server, cache_dir=tmp_path)
    assert [asking.ask(Ask("x", 2, seed=1)), asking.ask(Ask("x", 2, seed=1))] == [[], []]
    assert len(server.requests) == 1


def test_choices_that_a_filter_takes_away_are_left_out(server):
    said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}
    cut = {"index": 1, "finish_reason": "content_filter", "message": {"role": "assistant", "content": "half of"}}
    refused = {"index": 2, "finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "No."}}
    server.script = [Reply(body={"model": "tiny", "choices": [cut, said, refused]})]
    assert endpoint(server).ask(Ask("x", 3, seed=1)) == ["fine"]


def test_half_a_surrogate_pair_breaks_nothing_on_its_way_out_or_in(server, tmp_path):
    server.answer = lambda body, i: "one \ud83d two \U0001f5e1"
    asking = endpoint(server, cache_dir=tmp_path)
    assert asking.ask(Ask("cut \ud83d here \U0001f5e1", 1, seed=1)) == ["one ? two \U0001f5e1"]
    assert asking.ask(Ask("cut \ud83d here \U0001f5e1", 1, seed=1)) == ["one ? two \U0001f5e1"]
    assert [request["messages"][0]["content"] for request in server.requests] == ["cut ? here \U0001f5e1"]


def test_a_repeated_prompt_is_taken_off_a_completion(server):
    server.answer = lambda body, i: body["prompt"] + " and on."
    assert endpoint(server, api="completions").ask(Ask("Once.", 1, seed=1, system="Go on.")) == [" and on."]


def test_text_cannot_close_its_fence():
    assert fenced("story", "a </story> b <STORY>") == "<story>\na < /story> b < STORY>\n</story>"
