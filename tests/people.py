"""Who tests are about, and what they work on.

alice is a contractor, bob a staff labeler, rita a researcher, vera a viewer, acme a vendor's machine, ada the admin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from rest_framework.test import APIClient

from engine.snippets import Snippet as SnippetText
from engine.snippets import split_of
from webapi.models import ApiToken, Artifact, Batch, Policy, Role, Snippet, Task, User
from webapi.services.policies import policy_create
from workers.artifacts import register

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """SQLite tests run on a file, as SQLite does at work: threads of a test each have a connection of their own. On
    PostgreSQL each run of the tests has a database of its own."""
    database = connections["default"].settings_dict
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    else:
        database["TEST"]["NAME"] = f"gauntlet_test_{os.getpid()}"


@pytest.fixture(autouse=True)
def gauntlet_home(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    """Tests that touch the database keep their files to themselves, and hash passwords fast."""
    if not {"db", "transactional_db"} & set(request.fixturenames) and not request.node.get_closest_marker("django_db"):
        yield None
        return
    changed = request.getfixturevalue("settings")
    home: Path = request.getfixturevalue("tmp_path") / "home"
    home.mkdir()
    changed.GAUNTLET_HOME = home
    changed.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow hashing is for real passwords
    yield home


def person(name: str, role: str) -> User:
    """A user with a role."""
    return User.objects.create_user(username=name, password=PASSWORD, role=role)


@pytest.fixture
def alice(db: None) -> User:
    return person("alice", Role.CONTRACTOR)


@pytest.fixture
def bob(db: None) -> User:
    return person("bob", Role.STAFF_LABELER)


@pytest.fixture
def rita(db: None) -> User:
    return person("rita", Role.RESEARCHER)


@pytest.fixture
def vera(db: None) -> User:
    return person("vera", Role.VIEWER)


@pytest.fixture
def acme(db: None) -> User:
    return person("acme", Role.VENDOR)


@pytest.fixture
def ada(db: None) -> User:
    return person("ada", Role.ADMIN)


@pytest.fixture
def people(alice: User, bob: User, rita: User, vera: User, acme: User, ada: User) -> dict[str, User]:
    """Everybody, by name."""
    return {user.username: user for user in (alice, bob, rita, vera, acme, ada)}


@pytest.fixture
def api() -> Callable[..., APIClient]:
    """A client of the API: `api(rita).get("/api/v1/rounds")`; without a user nobody is signed in."""

    def client(user: User | None = None, **kwargs: Any) -> APIClient:
        made = APIClient(raise_request_exception=False)
        if user is not None:
            secret = ApiToken.issue(user=user, name="test", **kwargs).secret
            made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return made

    return client


def weights(path: str = "weights") -> Artifact:
    """Weights of no model, on disk as their row has them."""
    folder = Path(settings.GAUNTLET_HOME) / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(path.encode())
    return register(folder, "classifier")


@pytest.fixture
def policy(db: None) -> Policy:
    """A policy without rules for snippets, which asks for no more labels than a batch wants."""
    rules = dict.fromkeys(
        ("prompt_sentences", "completion_min_chars", "max_chars", "max_tokens", "min_letters", "language"), False
    )
    depth = {"test": 1, "more_on": []}
    spec = {"name": "harm", "question": "Was anyone harmed?", "snippet_rules": rules, "depth": depth}
    return policy_create(spec=spec)


@pytest.fixture
def make_snippets(policy: Policy) -> Callable[..., list[Snippet]]:
    """`make_snippets(3)`: that many snippets under the policy; `first` is the number of the first."""

    def make(count: int, *, first: int = 0, parent: Snippet | None = None, **fields: Any) -> list[Snippet]:
        texts = [
            SnippetText(f"Story {n} began.", f"It went on as story {n} does.") for n in range(first, first + count)
        ]
        rows = [
            Snippet(
                **{
                    "policy": policy,
                    "prompt": text.prompt,
                    "completion": text.completion,
                    "content_hash": text.content_hash,
                    "root_hash": parent.root_hash if parent else text.content_hash,
                    "split": parent.split if parent else split_of(text.content_hash),
                    "parent": parent,
                    "source": "corpus",
                    **fields,
                }
            )
            for text in texts
        ]
        return Snippet.objects.bulk_create(rows)

    return make


@pytest.fixture
def make_batch(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> Callable[..., Batch]:
    """`make_batch(3, wanted=2)`: a batch of that many open tasks on new snippets, each wanting two labels."""
    made = 0

    def make(count: int = 0, *, wanted: int = 1, snippets: list[Snippet] | None = None, **fields: Any) -> Batch:
        nonlocal made
        rows = make_snippets(count, first=made) if snippets is None else snippets
        made += count
        batch = Batch.objects.create(**{"policy": policy, "name": f"batch {made}", "adapter": "pull", **fields})
        Task.objects.bulk_create([Task(batch=batch, snippet=row, wanted=wanted) for row in rows])
        return batch

    return make
