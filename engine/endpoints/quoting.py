"""Putting other people's text into a request so that it stays text."""

from __future__ import annotations

import re


def fenced(tag: str, text: str) -> str:
    """`text` between <tag> and </tag> on lines of their own; the same tags inside it are broken up."""
    inside = re.sub(rf"<(\s*/?\s*{re.escape(tag)})", r"< \1", text, flags=re.IGNORECASE)
    return f"<{tag}>\n{inside}\n</{tag}>"
