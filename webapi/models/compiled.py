"""Queries put together once and asked many times, for the few that the labeling queue asks with every request.

Django builds a query's SQL anew each time, which takes it some twenty times as long as asking; PostgreSQL plans it anew,
which takes it several times as long as finding the rows. A function under `compiled` or `compiled_update` says what is
asked in Django's words, is called once for each shape, and its SQL is kept:

    @compiled
    def leases_of(live: bool, *, annotator: uuid.UUID, tasks: list[uuid.UUID]) -> QuerySet[Lease]:
        found = Lease.objects.filter(annotator=annotator, task__among=tasks)
        return found.filter(state=LeaseState.LIVE) if live else found

    leases_of(True, annotator=ann.pk, tasks=keys)  # a list of leases

What is passed by position is the shape: the function may look at it. What is passed by name stands in the SQL as a
parameter: the function gets a stand-in for it, which it may only put where Django takes an expression. All else that the
function says is a literal of the SQL, so that PostgreSQL recognises the conditions of partial indexes whatever the
parameters. Nothing comes from outside but by parameters.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import Expression, Field, ForeignObject, Lookup, Model, QuerySet
from django.db.models.query import ModelIterable, get_related_populators
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler
from django.db.transaction import TransactionManagementError

P = ParamSpec("P")
RowType = TypeVar("RowType")
ModelType = TypeVar("ModelType", bound=Model)
Update = tuple[QuerySet[Any], dict[str, Any]]
"""Rows, and what becomes of their fields."""


class Parameter(Expression):
    """Stands in a query for a value that is not known yet."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, list[Any]]:
        """A placeholder; the parameter itself is what fills it."""
        return "%s", [self]


@ForeignObject.register_lookup
@Field.register_lookup
class Among(Lookup):  # type: ignore[type-arg]  # no type argument at run time
    """`field__among=parameter`: as `in`, but the list is one parameter however many it holds."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, list[Any]]:
        """SQLite has no arrays; a list comes as JSON (see `_plain`)."""
        return self._around(compiler, connection, "{} IN (SELECT value FROM json_each({}))")

    def as_postgresql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, list[Any]]:
        """An array."""
        return self._around(compiler, connection, "{} = ANY({})")

    def _around(self, compiler: SQLCompiler, connection: Any, form: str) -> tuple[str, list[Any]]:
        field, before = self.process_lhs(compiler, connection)
        listed, after = self.process_rhs(compiler, connection)
        return form.format(field, listed), [*before, *after]


class _Statement(NamedTuple):
    """SQL, and what fills its placeholders: names of parameters or, on SQLite, literals."""

    sql: str
    filling: tuple[Parameter | Any, ...]
    locks: bool = False

    def execute(self, database: BaseDatabaseWrapper, values: dict[str, Any]) -> CursorWrapper:
        if self.locks and not database.in_atomic_block:
            raise TransactionManagementError("rows are locked in a transaction")
        cursor = _cursor(database)
        cursor.execute(self.sql, [_value(one, database, values) for one in self.filling])
        return cursor


def _value(one: Any, database: BaseDatabaseWrapper, values: dict[str, Any]) -> Any:
    if not isinstance(one, Parameter):
        return one
    return values[one.name] if database.vendor == "postgresql" else _plain(values[one.name])


def _cursor(database: BaseDatabaseWrapper) -> CursorWrapper:
    """Django's own writes values into the SQL; this one sends them apart, so that statements can be prepared."""
    if database.vendor != "postgresql" or database.queries_logged:
        return database.cursor()
    database.close_if_health_check_failed()
    database.ensure_connection()
    return database.make_cursor(psycopg.Cursor(database.connection))


def compiled(build: Callable[P, QuerySet[Any, RowType]]) -> Callable[P, list[RowType]]:
    """The rows of the query that `build` says."""

    @cache
    def reader(vendor: str, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Reader:
        return _Reader(build(*shape, **{name: Parameter(name) for name in names}))  # type: ignore[call-arg, arg-type]

    @wraps(build)
    def ask(*shape: P.args, **values: P.kwargs) -> list[RowType]:
        database = connections[DEFAULT_DB_ALIAS]
        return reader(database.vendor, shape, tuple(values)).rows(database, values)

    return ask


def compiled_update(build: Callable[P, Update]) -> Callable[P, int]:
    """Updates the rows that `build` says, in the way it says. Returns how many."""

    @cache
    def statement(vendor: str, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Statement:
        rows, fields = build(*shape, **{name: Parameter(name) for name in names})  # type: ignore[call-arg, arg-type]
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(fields)
        return _statement(query.get_compiler(connection=connection))

    @wraps(build)
    def change(*shape: P.args, **values: P.kwargs) -> int:
        database = connections[DEFAULT_DB_ALIAS]
        with statement(database.vendor, shape, tuple(values)).execute(database, values) as cursor:
            return cursor.rowcount

    return change


def insert(rows: Sequence[ModelType]) -> list[ModelType]:
    """As `bulk_create`, in one statement; for tables whose keys are made here."""
    if rows:
        model, database = type(rows[0]), connections[DEFAULT_DB_ALIAS]
        fields, sql = _fields(model), _insertion(model, database.vendor)
        values = [[f.get_db_prep_save(f.pre_save(row, True), database) for f in fields] for row in rows]
        with _cursor(database) as cursor:
            if database.vendor == "postgresql":
                cursor.execute(sql, [list(column) for column in zip(*values, strict=True)])
            else:
                cursor.executemany(sql, values)
        for row in rows:
            row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return list(rows)


@cache
def _fields(model: type[Model]) -> list[Field[Any, Any]]:
    return list(model._meta.concrete_fields)


@cache
def _insertion(model: type[Model], vendor: str) -> str:
    fields, quoted = _fields(model), connection.ops.quote_name
    into = f"INSERT INTO {quoted(model._meta.db_table)} ({', '.join(quoted(field.column) for field in fields)})"
    if vendor == "postgresql":
        return f"{into} SELECT * FROM UNNEST({', '.join(f'%s::{field.db_type(connection)}[]' for field in fields)})"
    return f"{into} VALUES ({', '.join(['%s'] * len(fields))})"


class _Reader:
    """A query's statement, and how its rows are read."""

    def __init__(self, rows: QuerySet[Any, Any]) -> None:
        compiler = rows.query.get_compiler(connection=connection)
        self._statement = _statement(compiler)
        columns = [expression for expression, *_ in compiler.select[: compiler.col_count]]
        self._converters = compiler.get_converters(columns).items()
        self._is_model = issubclass(rows._iterable_class, ModelIterable)
        if self._is_model:
            kind = compiler.klass_info
            first, last = kind["select_fields"][0], kind["select_fields"][-1]
            self._model, self._own = kind["model"], slice(first, last + 1)
            self._names = [expression.target.attname for expression in columns[self._own]]
            self._related = get_related_populators(kind, compiler.select, DEFAULT_DB_ALIAS)
            self._annotated = compiler.annotation_col_map.items()

    def rows(self, database: BaseDatabaseWrapper, values: dict[str, Any]) -> list[Any]:
        with self._statement.execute(database, values) as cursor:
            found = cursor.fetchall()
        rows = self._converted(database, found) if self._converters else found
        return [self._instance(row) for row in rows] if self._is_model else list(map(tuple, rows))

    def _converted(self, database: BaseDatabaseWrapper, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
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


def _statement(compiler: SQLCompiler) -> _Statement:
    sql, filling = compiler.as_sql()
    locks = compiler.query.select_for_update
    if connection.vendor != "postgresql":
        return _Statement(sql, tuple(filling), locks)
    written = ["%s" if isinstance(one, Parameter) else _literal(one) for one in filling]
    return _Statement(sql % tuple(written), tuple(one for one in filling if isinstance(one, Parameter)), locks)


def _literal(value: Any) -> str:
    return str(connection.ops.compose_sql("%s", [value])).replace("%", "%%")


def _plain(value: Any) -> Any:
    """As SQLite takes it, which has fewer types."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, list):
        return json.dumps([_plain(one) for one in value])
    return value
