"""Who reads pages, and what attacks are launched on; a file's own fixtures of these names come first."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapi.attack_rows import classifier_of
from webapi.models import Classifier, Policy, User


@pytest.fixture
def classifier(policy: Policy) -> Classifier:
    return classifier_of(policy)


@pytest.fixture
def reader(client: Client, rita: User) -> Client:
    client.force_login(rita)
    return client
