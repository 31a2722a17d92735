"""What a reader sees of a page."""

from __future__ import annotations

import re

from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext


def text_of(response: HttpResponse) -> str:
    """The page's text: without tags, white space made single."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def queries_of(client: Client, address: str) -> int:
    """How many queries a page takes that is there."""
    with CaptureQueriesContext(connection) as found:
        assert client.get(address).status_code == 200
    return len(found)
