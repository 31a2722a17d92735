"""Who paid how much for which model, and budgets that are never overdrawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from engine.endpoints.prices import Price
from engine.errors import BadInput, BudgetSpent

_ROUNDING = 1e-9
"""Share of a budget of money that sums of floating-point numbers may be off by."""


class Payment(NamedTuple):
    """What one request cost, or is going to cost at most."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    """USD; None where no price is known."""
    estimated: bool = False
    """The server told no usage; the tokens are an upper estimate."""
    owner: str = ""

    @property
    def tokens(self) -> int:
        """Both kinds."""
        return self.prompt_tokens + self.completion_tokens


class ModelSpending(NamedTuple):
    """What was spent on one model."""

    requests: int = 0
    """Answered and paid for."""
    reused: int = 0
    """Answered from the cache, and paid for by somebody else."""
    estimated: int = 0
    """Of the paid ones those whose usage the server did not tell."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = 0.0
    """USD; None where a paid request had no known price."""

    def plus(self, other: ModelSpending) -> ModelSpending:
        """Both together."""
        return ModelSpending(
            self.requests + other.requests,
            self.reused + other.reused,
            self.estimated + other.estimated,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            _sum(self.money, other.money),
        )


class Spending(NamedTuple):
    """What was spent, by model."""

    by_model: Mapping[str, ModelSpending] = MappingProxyType({})

    @property
    def requests(self) -> int:
        """Requests paid, over all models."""
        return sum(row.requests for row in self.by_model.values())

    @property
    def reused(self) -> int:
        """Requests answered from the cache and paid for by somebody else."""
        return sum(row.reused for row in self.by_model.values())

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens paid, over all models."""
        return sum(row.prompt_tokens + row.completion_tokens for row in self.by_model.values())

    @property
    def money(self) -> float | None:
        """USD over all models; None where a paid request had no known price."""
        return _sum(0.0, *(row.money for row in self.by_model.values()))

    def plus(self, other: Spending) -> Spending:
        """Both together."""
        names = sorted({*self.by_model, *other.by_model})
        nothing = ModelSpending()
        return Spending(
            {name: self.by_model.get(name, nothing).plus(other.by_model.get(name, nothing)) for name in names}
        )

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """As plain JSON: model -> the fields of ModelSpending."""
        return {name: row._asdict() for name, row in self.by_model.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Mapping[str, Any]]) -> Spending:
        """From what `as_dict` gave."""
        return cls({name: ModelSpending(**row) for name, row in plain.items()})


class Ledger:
    """Counts what one piece of work pays, and stops it before it pays more than it may. Safe for any number of threads.

    `owner` names the work over all its attempts (a job's id): what an attempt that was killed paid for stands in the
    cache under that name and counts again here. Nobody else's payments do; without a name, none. `tokens` (prompt and
    completion) and `money` (USD) are budgets; None: as much as it takes. One ledger at a time may have an owner's name:
    two at once each spend the whole budget.
    """

    def __init__(self, owner: str = "", tokens: int | None = None, money: float | None = None) -> None:
        self.owner = owner
        self._tokens = tokens
        self._money = money
        self._changed = threading.Condition()
        self._spent: dict[str, ModelSpending] = {}
        self._under_way: list[Payment] = []
        self._counted: set[str] = set()

    @property
    def spending(self) -> Spending:
        """What was spent until now; without what is under way."""
        with self._changed:
            return Spending(dict(sorted(self._spent.items())))

    def admit(self, model: str, price: Price | None) -> None:
        """Raises BadInput where money is budgeted and the model's price is not known."""
        if self._money is not None and price is None:
            raise BadInput(
                f"the price of {model} is not known, so no budget of money can be kept: give it in the endpoint's "
                "settings as price = { input = ..., output = ... }, USD per million tokens (0 for a server of your own)"
            )

    @contextmanager
    def reserve(self, most: Payment, *, name: str = "") -> Iterator[Callable[[Payment], None]]:
        """Holds `most` of the budget for one request, and gives what settles it with its true cost.

        Waits for requests under way where only their reservations are in the way, so that what is bought does not
        depend on how many run at once. Unsettled, nothing is counted. `name` is the request's in the cache. Raises
        BudgetSpent where `most` is more than is left.
        """
        with self._changed:
            while (what := self._short(most, self._under_way)) is not None:
                if self._short(most, []) is not None:
                    raise BudgetSpent(what, self._message(what, most))
                self._changed.wait()
            self._under_way.append(most)

        def settle(payment: Payment) -> None:
            with self._changed:
                self._count(name, payment)

        try:
            yield settle
        finally:
            with self._changed:
                # Reservations are alike where they are equal: it does not matter which one goes.
                self._under_way.remove(most)
                self._changed.notify_all()

    def found(self, name: str, model: str, payment: Payment | None) -> None:
        """Counts a request answered from the cache, once: as paid where this owner paid for it, else as reused."""
        with self._changed:
            if name in self._counted:
                return
            if payment is not None and self.owner and payment.owner == self.owner:
                self._count(name, payment)
            else:
                self._counted.add(name)
                self._add(model, ModelSpending(reused=1))

    def _count(self, name: str, payment: Payment) -> None:
        if name:
            self._counted.add(name)
        row = ModelSpending(
            1, 0, int(payment.estimated), payment.prompt_tokens, payment.completion_tokens, payment.money
        )
        self._add(payment.model, row)

    def _add(self, model: str, row: ModelSpending) -> None:
        self._spent[model] = self._spent.get(model, ModelSpending()).plus(row)

    def _short(self, most: Payment, under_way: list[Payment]) -> Literal["tokens", "money"] | None:
        """Which budget has no room for `most` beside what is spent and under way. O(under way)."""
        spent = Spending(self._spent)
        if self._tokens is not None and spent.tokens + sum(p.tokens for p in under_way) + most.tokens > self._tokens:
            return "tokens"
        if self._money is not None:
            wanted = (spent.money or 0.0) + sum(p.money or 0.0 for p in [*under_way, most])
            if wanted > self._money * (1 + _ROUNDING):
                return "money"
        return None

    def _message(self, what: str, most: Payment) -> str:
        spent = Spending(self._spent)
        if what == "tokens":
            return f"{spent.tokens} of {self._tokens} tokens are spent, and one request more can take {most.tokens}"
        spent_money, next_money = spent.money or 0.0, most.money or 0.0
        return f"${spent_money:.4f} of ${self._money:.4f} are spent, and one request more can cost ${next_money:.4f}"


def _sum(*parts: float | None) -> float | None:
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
