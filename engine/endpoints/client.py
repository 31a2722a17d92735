"""The one client for OpenAI-compatible endpoints: settings, retries, errors, cache, what it costs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import openai

from engine.endpoints.cache import RequestCache, name_of
from engine.endpoints.ledger import Ledger, Payment
from engine.endpoints.settings import EndpointSettings
from engine.endpoints.side_by_side import side_by_side
from engine.endpoints.usage import Usage, likely_most, most_usage, told_usage
from engine.errors import GeneratorError
from engine.progress import Progress, silent

_DECLINED = frozenset({"content_filter", "content_policy_violation"})
"""What filters call it when they let a text or an answer not pass."""


class Ask(NamedTuple):
    """One request: messages for chat, or the same set one below the other for completions."""

    text: str
    n: int
    seed: int
    system: str = ""
    shots: tuple[tuple[str, str], ...] = ()
    """Examples: what a user said and what was the right answer."""


class Endpoint:
    """A checked connection. `ledger` counts what is paid and holds the budgets; `cache_dir` is the folder for finished
    requests, and without one every request is made.

    Raises at once GeneratorError where the key's variable is not set or the folder cannot be written, and BadInput
    where the ledger budgets money and the model's price is not known.
    """

    def __init__(self, settings: EndpointSettings, ledger: Ledger | None = None, cache_dir: Path | None = None) -> None:
        self.settings = settings
        self._ledger = ledger or Ledger()
        self._ledger.admit(settings.model, settings.known_price)
        self._key = _key(settings.key_variable)
        self._cache = RequestCache(cache_dir) if cache_dir else None
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout_s,
            max_retries=settings.max_retries,
        )
        if self._cache:
            self._cache.check()
            self._count_earlier(self._cache)

    def ask_all(self, asks: Sequence[Ask], *, progress: Progress = silent) -> list[list[str]]:
        """The answers to all requests, in order, `concurrency` at a time. Raises like `ask`."""
        if not asks:
            return []
        return side_by_side(self.ask, asks, threads=self.settings.concurrency, progress=progress)

    def ask(self, ask: Ask) -> list[str]:
        """The texts of the choices: up to `ask.n`, as the server pleases, some maybe empty; none where a filter of the
        server declines the text.

        Raises BudgetSpent where the ledger has no room for it, and GeneratorError: permanent for a refused key, an
        unknown model, a malformed request, an answer that is not of the OpenAI shape; not permanent for lost
        connections, time-outs, broken answers, 429 and 5xx after all retries.
        """
        body = self._body(ask)
        if self._cache is None:
            return self._pay(body, "")[0]
        identity = {"url": self._address, "api": self.settings.api, "seed": ask.seed, **body}
        name = name_of(identity)
        with self._turn(name):
            kept = self._cache.get(identity)
            if kept is None:
                return self._cache.put(identity, *self._pay(body, name)).texts
            self._ledger.found(name, self.settings.model, kept.payment)
            return kept.texts

    def _count_earlier(self, cache: RequestCache) -> None:
        """All that earlier attempts of the same owner paid for counts before the first request does."""
        for kept in cache.paid_by(self._ledger.owner) if self._ledger.owner else ():
            if kept.payment is not None:
                self._ledger.found(kept.name, kept.payment.model, kept.payment)

    def _turn(self, name: str) -> threading.Lock:
        """Who asks the same as another thread does just now waits for that one's answer."""
        with self._lock:
            return self._turns.setdefault(name, threading.Lock())

    def _pay(self, body: Mapping[str, object], name: str) -> tuple[list[str], Payment | None]:
        """The answer to a request that is made, and what it cost; None where a filter declined it before any work."""
        most = most_usage(body, self.settings.max_tokens)
        with self._ledger.reserve(self._payment(most), name=name) as settle:
            answer = self._send(body)
            if answer is None:
                return [], None
            texts = self._texts(answer, body)
            told = told_usage(answer)
            payment = self._payment(told or likely_most(most, texts), estimated=told is None)
            settle(payment)
        return texts, payment

    def _payment(self, usage: Usage, *, estimated: bool = False) -> Payment:
        price = self.settings.known_price
        money = price.of(*usage) if price else None
        return Payment(self.settings.model, *usage, money, estimated, self._ledger.owner)

    def _body(self, ask: Ask) -> dict[str, object]:
        settings = self.settings
        body: dict[str, object] = {
            "model": settings.model,
            "n": ask.n,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            settings.token_limit_field: settings.max_tokens,
        }
        if settings.send_seed:
            body["seed"] = ask.seed
        if settings.api == "completions":
            above = [ask.system, *(part for shot in ask.shots for part in shot)]
            return body | {"prompt": _text("\n\n".join([*filter(None, above), ask.text]))}
        messages = [{"role": "system", "content": ask.system}] if ask.system else []
        for said, answered in ask.shots:
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
        messages.append({"role": "user", "content": ask.text})
        return body | {"messages": [message | {"content": _text(message["content"])} for message in messages]}

    def _send(self, body: Mapping[str, object]) -> object | None:
        """The server's answer, with choices; None where a filter declines the request."""
        # The body is built as plain data, because it is also the cache's key.
        create: Callable[..., object] = (
            self._client.chat.completions.create if self.settings.api == "chat" else self._client.completions.create
        )
        try:
            answer = create(**body)
        except openai.BadRequestError as error:
            if error.code in _DECLINED:
                return None
            self._refuse(error)
        except openai.APIError as error:
            self._refuse(error)
        except ValueError:
            raise GeneratorError(f"{self._place}: the answer is broken JSON", permanent=False) from None
        if not isinstance(getattr(answer, "choices", None), list):
            raise GeneratorError(f"{self._place}: the answer is not of the OpenAI shape; is the base URL right?")
        return answer

    def _texts(self, answer: object, body: Mapping[str, object]) -> list[str]:
        """The choices' texts, without those that a filter took away."""
        choices = [c for c in getattr(answer, "choices", []) if getattr(c, "finish_reason", None) not in _DECLINED]
        if self.settings.api == "completions":
            # Some servers repeat the prompt before they go on.
            return [_text(getattr(choice, "text", None)).removeprefix(str(body["prompt"])) for choice in choices]
        messages = [getattr(choice, "message", None) for choice in choices]
        return [_text(getattr(m, "content", None)) for m in messages if not getattr(m, "refusal", None)]

    @property
    def _address(self) -> str:
        """The base URL without what it could hold of secrets."""
        url = urlsplit(self.settings.base_url)
        return f"{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"

    @property
    def _place(self) -> str:
        return f"{self.settings.model} at {self._address}"

    def _refuse(self, error: openai.APIError) -> NoReturn:
        """Raise what a person can act on; `from None`, because servers repeat the key in what they answer."""
        variable = self.settings.key_variable
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            held = f"the key in {variable}" if variable else "a request without a key (set key_variable)"
            raise GeneratorError(f"{self._place}: refused {held} ({error.status_code})") from None
        if isinstance(error, openai.APITimeoutError):
            waited = f"no answer within {self.settings.timeout_s:g} s"
            raise GeneratorError(f"{self._place}: {waited}", permanent=False) from None
        if isinstance(error, openai.APIConnectionError):
            raise GeneratorError(f"{self._place}: not reachable", permanent=False) from None
        detail = _short(_told(error), self._key)
        if not isinstance(error, openai.APIStatusError):
            raise GeneratorError(f"{self._place}: {detail}") from None
        status = error.status_code
        passing = status in {408, 409, 425, 429} or status >= 500
        permanent = not passing or error.code == "insufficient_quota"
        raise GeneratorError(f"{self._place}: {detail} ({status})", permanent=permanent) from None


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise GeneratorError(f"the environment variable {variable} is not set: it must hold the endpoint's key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise GeneratorError(f"the environment variable {variable} does not hold a key: it has odd characters")
    return key


def _text(content: object) -> str:
    """A text that can be sent and written: half surrogates, which JSON lets through, become question marks."""
    return str(content or "").encode("utf-8", "replace").decode()


def _told(error: openai.APIError) -> str:
    """What the server says is wrong; many that are not OpenAI's say it as `detail`."""
    told = error.body.get("detail") if isinstance(error.body, dict) else None
    return told if isinstance(told, str) else error.message


def _short(message: str, key: str) -> str:
    text = " ".join(message.split())
    if key:
        text = text.replace(key, "[key]")
    return text if len(text) <= 300 else text[:299] + "…"
