"""The one client for OpenAI-compatible endpoints: settings, retries, errors, cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, ConfigDict, Field

from engine.endpoints.cache import RequestCache
from engine.endpoints.side_by_side import side_by_side
from engine.errors import GeneratorError
from engine.progress import Progress, silent


class EndpointSettings(BaseModel):
    """Where and how to ask. Keys never stand here: only the name of the environment variable that holds one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://[^\s]+$")
    api: Literal["chat", "completions"] = "chat"
    key_variable: str | None = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; null for a server that wants none."""
    timeout_s: float = Field(60, gt=0)
    max_retries: int = Field(5, ge=0)
    """Tries beyond the first on 408, 409, 429, 5xx and lost connections; waits double from 0.5 s to 8 s, with jitter,
    or as long as the server asks."""
    concurrency: int = Field(8, ge=1)
    """Requests under way at once."""
    choices_per_request: int = Field(8, ge=1)
    """Answers asked for in one request. Servers that give one anyway are asked again one by one."""
    temperature: float = Field(0.9, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(32, ge=1)
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # noqa: S105 - no password
    """What the server calls `max_tokens`; newer chat models want the second."""
    send_seed: bool = True
    """False for servers that refuse the field."""
    cache_dir: Path | None = None
    """Folder for finished requests; none: every request is made."""


class Ask(NamedTuple):
    """One request: messages for chat, or the same set one below the other for completions."""

    text: str
    n: int
    seed: int
    system: str = ""
    shots: tuple[tuple[str, str], ...] = ()
    """Examples: what a user said and what was the right answer."""


class Endpoint:
    """A checked connection. Raises GeneratorError at once when the key's variable is not set."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._key = _key(settings.key_variable)
        self._cache = RequestCache(settings.cache_dir) if settings.cache_dir else None
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout_s,
            max_retries=settings.max_retries,
        )

    def ask_all(self, asks: Sequence[Ask], *, progress: Progress = silent) -> list[list[str]]:
        """The answers to all requests, in order, `concurrency` at a time. Raises like `ask`."""
        if not asks:
            return []
        return side_by_side(self.ask, asks, threads=self.settings.concurrency, progress=progress)

    def ask(self, ask: Ask) -> list[str]:
        """The texts of the choices: up to `ask.n`, as the server pleases, some maybe empty.

        Raises GeneratorError: permanent for a refused key, an unknown model, a malformed request, an answer that is
        not of the OpenAI shape; not permanent for lost connections, time-outs, broken answers, 429 and 5xx after
        all retries.
        """
        body = self._body(ask)
        identity = {"url": self._address, "api": self.settings.api, "seed": ask.seed, **body}
        if self._cache and (kept := self._cache.get(identity)) is not None:
            return kept
        texts = self._send(body)
        return self._cache.put(identity, texts) if self._cache else texts

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
            return body | {"prompt": "\n\n".join([*filter(None, above), ask.text])}
        messages = [{"role": "system", "content": ask.system}] if ask.system else []
        for said, answered in ask.shots:
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
        return body | {"messages": [*messages, {"role": "user", "content": ask.text}]}

    def _send(self, body: Mapping[str, object]) -> list[str]:
        # The body is built as plain data, because it is also the cache's key.
        chat = self.settings.api == "chat"
        create: Callable[..., object] = (
            self._client.chat.completions.create if chat else self._client.completions.create
        )
        try:
            answer = create(**body)
        except openai.APIError as error:
            self._refuse(error)
        except ValueError:
            raise GeneratorError(f"{self._place}: the answer is broken JSON", permanent=False) from None
        choices = getattr(answer, "choices", None)
        if not isinstance(choices, list):
            raise GeneratorError(f"{self._place}: the answer is not of the OpenAI shape; is the base URL right?")
        if chat:
            return [str(getattr(getattr(choice, "message", None), "content", None) or "") for choice in choices]
        return [str(getattr(choice, "text", None) or "") for choice in choices]

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
        detail = _short(error.message, self._key)
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


def _short(message: str, key: str) -> str:
    text = " ".join(message.split())
    if key:
        text = text.replace(key, "[key]")
    return text if len(text) <= 300 else text[:299] + "…"
