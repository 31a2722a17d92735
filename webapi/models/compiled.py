"""Queries put together once and asked many times: the few that the labeling queue asks with every request.

Django builds the SQL of a query anew each time, which takes some twenty times as long as asking; PostgreSQL plans it
anew, which takes longer than finding the rows. A function under `compiled` or `compiled_update` says what is asked in
Django's words; it is called once for each shape, and the SQL that comes of it is kept:

    @compiled
    def leases_of(live: bool, *, annotator: uuid.UUID, tasks: list[uuid.UUID] | None = None) -> QuerySet[Lease]:
        found = Lease.objects.filter(annotator=annotator)
        found = found if tasks is None else found.filter(task__among=tasks)
        return found.filter(state=LeaseState.LIVE) if live else found

    leases_of(True, annotator=ann.pk, tasks=keys)  # a list of leases

What is passed by position is the shape: the function may look at it. What is passed by name is a parameter of the SQL:
the function gets a stand-in for it, or None where None is passed, and may only put it where Django takes an expression.
All else that the function says is a literal of the SQL, so that PostgreSQL recognises the conditions of partial indexes
whatever the parameters are. Nothing comes from outside but by parameters.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, wraps
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Expression, Field, ForeignObject, Lookup, Model, QuerySet, query
from django.db.models.sql import UpdateQuery
from django.db.transaction import TransactionManagementError

P = ParamSpec("P")
RowType = TypeVar("RowType")
ModelType = TypeVar("ModelType", bound=Model)
Update = tuple[QuerySet[Any], dict[str, Any]]
"""Rows, and what becomes of their fields."""
Database = Any
"""Django's wrapper of this thread's connection; its compilers and cursors have no types of their own."""


class Parameter(Expression):
    """Stands in a query for a value that comes later."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Database, **extra: Any) -> tuple[str, Any]:
        """A placeholder, filled by the parameter itself."""
        return "%s", [self]


@ForeignObject.register_lookup
@Field.register_lookup
class Among(Lookup):
    """`field__among=parameter`: as `in`, but the list is one parameter however many it holds."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Database, **extra: Any) -> tuple[str, Any]:
        """PostgreSQL takes an array; SQLite has none, and takes JSON (see `_plain`)."""
        form = "{} = ANY({})" if connection.vendor == "postgresql" else "{} IN (SELECT value FROM json_each({}))"
        field, before = self.process_lhs(compiler, connection)
        listed, after = self.process_rhs(compiler, connection)
        return form.format(field, listed), [*before, *after]


def compiled(build: Callable[P, QuerySet[Any, RowType]]) -> Callable[P, list[RowType]]:
    """The rows of the query that `build` says."""

    @cache
    def reader(vendor: str, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Reader:
        return _Reader(_built(build, shape, names))

    @wraps(build)
    def ask(*shape: P.args, **values: P.kwargs) -> list[RowType]:
        database, given = _this_thread(), {name: value for name, value in values.items() if value is not None}
        rows: list[RowType] = reader(database.vendor, shape, tuple(given)).rows(database, given)
        return rows

    return ask


def compiled_update(build: Callable[P, Update]) -> Callable[P, int]:
    """Updates the rows that `build` says, in the way it says. Returns how many."""

    @cache
    def statement(vendor: str, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Statement:
        rows, fields = _built(build, shape, names)
        changing: Any = rows.query.chain(UpdateQuery)
        changing.add_update_values(fields)
        return _statement(changing.get_compiler(DEFAULT_DB_ALIAS))

    @wraps(build)
    def change(*shape: P.args, **values: P.kwargs) -> int:
        database, given = _this_thread(), {name: value for name, value in values.items() if value is not None}
        return int(statement(database.vendor, shape, tuple(given)).execute(database, given).rowcount)

    return change


def insert(rows: Sequence[ModelType]) -> list[ModelType]:
    """As `bulk_create`, in one statement; for tables whose keys are made here and that hold no JSON."""
    if rows:
        model, database = type(rows[0]), _this_thread()
        table = _table(model, database.vendor)
        for row in rows:
            for stamp in table.stamped:
                stamp.pre_save(row, True)
        values = [table.values(row) for row in rows]
        if database.vendor != "postgresql":
            _cursor(database, table.of_rows).executemany(table.of_rows, [_sent(database, row) for row in values])
        elif len(rows) == 1:
            _cursor(database, table.of_rows).execute(table.of_rows, values[0])
        else:
            columns = [_array(list(column)) for column in zip(*values, strict=True)]
            _cursor(database, table.of_columns).execute(table.of_columns, columns)
        for row in rows:
            row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return list(rows)


class _Table(NamedTuple):
    """How rows are inserted."""

    of_rows: str
    of_columns: str
    """For PostgreSQL: one statement for any number of rows."""
    values: Callable[[Model], tuple[Any, ...]]
    stamped: list[Field[Any, Any]]
    """Fields that hold the time of the insertion."""


@cache
def _table(model: type[Model], vendor: str) -> _Table:
    fields, database = list(model._meta.concrete_fields), _this_thread()
    columns = ", ".join(database.ops.quote_name(one.column) for one in fields)
    into = f"INSERT INTO {database.ops.quote_name(model._meta.db_table)} ({columns})"
    arrays = ", ".join(f"%s::{one.db_type(database)}[]" for one in fields)
    of_columns = f"{into} SELECT * FROM UNNEST({arrays})"  # noqa: S608  # the names are our own tables'
    stamped = [one for one in fields if getattr(one, "auto_now", False) or getattr(one, "auto_now_add", False)]
    of_rows = f"{into} VALUES ({', '.join(['%s'] * len(fields))})"
    return _Table(of_rows, of_columns, attrgetter(*[one.attname for one in fields]), stamped)


class _Statement(NamedTuple):
    """SQL, and what fills its placeholders: parameters or, on SQLite, literals."""

    sql: str
    filling: tuple[Any, ...]
    locks: bool
    binary: bool = False
    """How rows come from PostgreSQL: faster to read, but for JSON."""

    def execute(self, database: Database, values: dict[str, Any]) -> Any:
        if self.locks and not database.in_atomic_block:
            raise TransactionManagementError("Rows are locked in a transaction only.")
        filling = [values[one.name] if isinstance(one, Parameter) else one for one in self.filling]
        cursor = _cursor(database, self.sql, binary=self.binary)
        cursor.execute(self.sql, _sent(database, filling))
        return cursor


class _Reader:
    """A query's statement, and how its rows are read."""

    def __init__(self, rows: Any) -> None:
        compiler: Any = rows.query.get_compiler(DEFAULT_DB_ALIAS)
        statement = _statement(compiler)
        columns = [expression for expression, *_ in compiler.select[: compiler.col_count]]
        self._converters = compiler.get_converters(columns).items()
        self._statement = statement._replace(binary=not self._converters)
        self._is_model = issubclass(rows._iterable_class, query.ModelIterable)
        if self._is_model:
            kind = compiler.klass_info
            self._model, fields = kind["model"], kind["select_fields"]
            self._own = slice(fields[0], fields[-1] + 1)
            self._names = [column.target.attname for column in columns[self._own]]
            populators: Any = query.get_related_populators
            self._related = populators(kind, compiler.select, DEFAULT_DB_ALIAS)
            self._annotated = compiler.annotation_col_map.items()

    def rows(self, database: Database, values: dict[str, Any]) -> list[Any]:
        found = self._statement.execute(database, values).fetchall()
        rows = self._converted(database, found) if self._converters else found
        return [self._instance(row) for row in rows] if self._is_model else list(map(tuple, rows))

    def _converted(self, database: Database, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        for row in map(list, rows):
            for place, (converters, expression) in self._converters:
                for convert in converters:
                    row[place] = convert(row[place], expression, database)
            yield row

    def _instance(self, row: Sequence[Any]) -> Model:
        made: Model = self._model.from_db(DEFAULT_DB_ALIAS, self._names, row[self._own])
        for related in self._related:
            related.populate(row, made)
        for name, place in self._annotated:
            setattr(made, name, row[place])
        return made


def _built(build: Callable[..., RowType], shape: tuple[Any, ...], names: tuple[str, ...]) -> RowType:
    return build(*shape, **{name: Parameter(name) for name in names})


def _statement(compiler: Any) -> _Statement:
    sql, filling = compiler.as_sql()
    locks, database = compiler.query.select_for_update, compiler.connection
    if database.vendor != "postgresql":
        return _Statement(sql, tuple(filling), locks)
    literals = [one if isinstance(one, Parameter) else database.ops.compose_sql("%s", [one]) for one in filling]
    written = ["%s" if isinstance(one, Parameter) else one.replace("%", "%%") for one in literals]
    return _Statement(sql % tuple(written), tuple(one for one in filling if isinstance(one, Parameter)), locks)


def _sent(database: Database, values: Sequence[Any]) -> list[Any]:
    """Values as the database's driver takes them."""
    change = _array if database.vendor == "postgresql" else _plain
    return [change(value) for value in values]


def _array(value: Any) -> Any:
    """Keys come in lists, and written out they cost a tenth of what psycopg takes for a list of whatever it may be."""
    if isinstance(value, list) and value and all(type(one) is uuid.UUID for one in value):
        return "{" + ",".join([one.hex for one in value]) + "}"
    return value


def _plain(value: Any) -> Any:
    """As SQLite takes it, which has fewer types."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return _this_thread().ops.adapt_datetimefield_value(value)
    if isinstance(value, list):
        return json.dumps([_plain(one) for one in value])
    return value


def _this_thread() -> Database:
    return connections[DEFAULT_DB_ALIAS]


@dataclass(slots=True)
class _Kept:
    """What is kept of a connection to PostgreSQL."""

    cursors: dict[str, psycopg.Cursor[Any]] = field(default_factory=dict)
    """By statement: psycopg remembers in them how to send and read."""
    planned_at: float = field(default_factory=monotonic)


_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()
REPLAN_SECONDS = 2.0
"""How old a plan may be: one made for an empty table reads the whole of it when it has grown."""


def _cursor(database: Database, sql: str, *, binary: bool = False) -> Any:
    """Django's own writes values into the SQL; this one sends them apart, so that statements can be prepared."""
    if database.vendor != "postgresql" or database.queries_logged:
        return database.cursor()
    database.close_if_health_check_failed()
    database.ensure_connection()
    kept = _kept.setdefault(database.connection, _Kept())
    if monotonic() - kept.planned_at > REPLAN_SECONDS:
        with database.cursor() as cursor:
            cursor.execute("DISCARD PLANS")
        kept.planned_at = monotonic()
    if sql not in kept.cursors:
        made = kept.cursors[sql] = psycopg.Cursor(database.connection)
        made.format = psycopg.pq.Format.BINARY if binary else psycopg.pq.Format.TEXT
    return database.make_cursor(kept.cursors[sql])
