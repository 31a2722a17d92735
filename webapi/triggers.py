"""What the database itself forbids, beyond constraints: triggers on SQLite and PostgreSQL.

- What derives from a snippet is in its split: a snippet has its parent's split and root, all snippets of one root
  have one split, and a snippet that others were made from is moved to no other.
- A dataset snapshot's content never changes.

A later migration that rebuilds a table on SQLite loses the table's triggers, so they are made again after every
`migrate` (`webapi.apps`). Making them twice changes nothing.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

SNIPPETS, SNAPSHOTS = "webapi_snippet", "webapi_datasetsnapshot"
_PARTED = "a snippet has the split and the root of its parent"
_MOVED = "a snippet that others were made from keeps its split and root"
_ROOT = "all snippets of one root have one split"
_CHANGED = "dataset snapshots are immutable"
_CONTENT = ("policy_id", "condition", "content_hash", "split", "trains", "seed", "size", "counts", "datasets")

_NO_SUCH_PARENT = f"""NEW.parent_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM {SNIPPETS} parent
    WHERE parent.id = NEW.parent_id AND parent.split = NEW.split AND parent.root_hash = NEW.root_hash)"""  # noqa: S608
_ROOT_IS_PARTED = f"""NEW.root_hash <> '' AND EXISTS (
    SELECT 1 FROM {SNIPPETS} kin
    WHERE kin.root_hash = NEW.root_hash AND kin.policy_id = NEW.policy_id AND kin.split <> NEW.split
    AND kin.id <> NEW.id)"""  # noqa: S608
_HAS_CHILDREN = f"EXISTS (SELECT 1 FROM {SNIPPETS} child WHERE child.parent_id = OLD.id)"  # noqa: S608


def _sqlite(name: str, when: str, table: str, refusals: dict[str, str]) -> str:
    """A trigger that refuses with the first message whose condition holds."""
    cases = "\n".join(f"WHEN {condition} THEN RAISE(ABORT, '{message}')" for message, condition in refusals.items())
    return f"CREATE TRIGGER {name} BEFORE {when} ON {table} BEGIN SELECT CASE\n{cases} END; END"


_MOVES = "UPDATE OF parent_id, split, root_hash"
_IS_MOVED = f"(NEW.split <> OLD.split OR NEW.root_hash <> OLD.root_hash) AND {_HAS_CHILDREN}"
_DIFFERS = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in _CONTENT)
_OF_NEW = {_PARTED: _NO_SUCH_PARENT, _ROOT: _ROOT_IS_PARTED}
_OF_OLD = {_PARTED: _NO_SUCH_PARENT, _MOVED: _IS_MOVED, _ROOT: _ROOT_IS_PARTED}
SQLITE = {
    name: _sqlite(name, when, table, refusals)
    for name, when, table, refusals in (
        ("snippet_made_in_split", "INSERT", SNIPPETS, _OF_NEW),
        ("snippet_stays_in_split", _MOVES, SNIPPETS, _OF_OLD),
        ("snapshot_is_immutable", "UPDATE", SNAPSHOTS, {_CHANGED: f"OLD.content_hash <> '' AND ({_DIFFERS})"}),
    )
}
"""By name."""

_DISTINCT = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in _CONTENT)
POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION webapi_snippet_stays_in_split() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.parent_id IS NOT NULL THEN
        -- Held until the transaction ends: a parent that is being moved waits, and then sees its child.
        PERFORM 1 FROM {SNIPPETS} parent
        WHERE parent.id = NEW.parent_id AND parent.split = NEW.split AND parent.root_hash = NEW.root_hash FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION '{_PARTED}' USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.split <> OLD.split OR NEW.root_hash <> OLD.root_hash) THEN
        IF {_HAS_CHILDREN} THEN
            RAISE EXCEPTION '{_MOVED}' USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    IF {_ROOT_IS_PARTED} THEN
        RAISE EXCEPTION '{_ROOT}' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION webapi_snapshot_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.content_hash <> '' AND ({_DISTINCT}) THEN
        RAISE EXCEPTION '{_CHANGED}' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""
POSTGRESQL_TRIGGERS = {
    "snippet_made_in_split": (SNIPPETS, "INSERT", "webapi_snippet_stays_in_split"),
    "snippet_stays_in_split": (SNIPPETS, _MOVES, "webapi_snippet_stays_in_split"),
    "snapshot_is_immutable": (SNAPSHOTS, "UPDATE", "webapi_snapshot_is_immutable"),
}
"""By name: table, event and function."""


def make_triggers(connection: BaseDatabaseWrapper) -> int:
    """Makes those that are missing or are not as they stand here. Returns how many."""
    return _make_on_sqlite(connection) if connection.vendor == "sqlite" else _make_on_postgresql(connection)


def drop_triggers(connection: BaseDatabaseWrapper) -> None:
    """As if there had never been any."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            return
        for name, (table, _, _) in POSTGRESQL_TRIGGERS.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        for function in sorted({function for _, _, function in POSTGRESQL_TRIGGERS.values()}):
            cursor.execute(f"DROP FUNCTION IF EXISTS {function}()")


def _make_on_sqlite(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        there = dict(cursor.fetchall())
        lacking = [name for name, wanted in SQLITE.items() if there.get(name) != wanted]
        for name in lacking:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(SQLITE[name])
    return len(lacking)


def _make_on_postgresql(connection: BaseDatabaseWrapper) -> int:
    """Tables are locked for a trigger that is missing, and for no other."""
    with connection.cursor() as cursor:
        cursor.execute(POSTGRESQL)
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (%s::regclass, %s::regclass)",
            [SNIPPETS, SNAPSHOTS],
        )
        there = {name for (name,) in cursor.fetchall()}
        lacking = [name for name in POSTGRESQL_TRIGGERS if name not in there]
        for name in lacking:
            table, event, function = POSTGRESQL_TRIGGERS[name]
            cursor.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
            )
    return len(lacking)
