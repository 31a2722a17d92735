"""The few errors the engine raises on purpose. Each carries a stable `code` and a message a person can act on."""

from __future__ import annotations

from typing import Literal


class EngineError(Exception):
    """Base of the engine's errors. `code` is stable, for programs; the message is for people."""

    code = "engine_error"
    permanent = True
    """Whether trying the same call again is pointless."""


class BadInput(EngineError):
    """Input from outside is wrong. `where` names the file, line or field."""

    code = "bad_input"

    def __init__(self, message: str, *, where: str = "") -> None:
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class UnknownName(EngineError):
    """A registry has no such entry; the message lists those it has."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: object) -> None:
        names = ", ".join(sorted(str(k) for k in known))  # type: ignore[attr-defined]
        super().__init__(f"unknown {kind} {name!r}; known: {names}")


class MissingModel(EngineError):
    """Weights are not on this machine and could not be fetched; the message says how to get them."""

    code = "missing_model"


class Damaged(EngineError):
    """A file is not what it was when it was written: its hash is another. `wanted` and `found` are SHA-256, in hex."""

    code = "damaged"

    def __init__(self, name: str, *, wanted: str, found: str) -> None:
        self.name, self.wanted, self.found = name, wanted, found
        super().__init__(f"{name}: its SHA-256 should be {wanted} and is {found}; it was damaged or exchanged")


class StoreError(EngineError):
    """The artifact store could not be reached, or does not hold what it should."""

    code = "store_error"

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(message)


class GeneratorError(EngineError):
    """A generator or paraphraser could not answer: refused key, unreachable endpoint, nothing returned."""

    code = "generator_error"

    def __init__(self, message: str, *, permanent: bool = True) -> None:
        self.permanent = permanent
        super().__init__(message)


class BudgetSpent(EngineError):
    """A budget has no room for one request more. `what` says which; nothing was asked and nothing paid."""

    code = "budget_spent"

    def __init__(self, what: Literal["tokens", "money"], message: str) -> None:
        self.what = what
        super().__init__(message)


class OutOfMemory(EngineError):
    """Memory ran out: on the GPU with a single example at a time, or the system killed the process for it.

    `permanent` where the same call needs the same memory again; not where the machine may be less busy later.
    """

    code = "out_of_memory"

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(message)


class Crashed(EngineError):
    """Work in a process of its own ended without a result; the message says how, and its last lines."""

    code = "crashed"

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(message)
