"""What a test may ask for besides Python: services and a browser. Says at the end whether it had them."""

from __future__ import annotations

import shutil

import pytest

from tests.services import REQUIRED, silent_services

pytest_plugins = ["tests.people"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("services") and silent_services():
        if REQUIRED:
            pytest.fail(silent_services(), pytrace=False)
        pytest.skip(silent_services())
    if item.get_closest_marker("browser") and shutil.which("chromium") is None:
        pytest.skip("no `chromium` on this machine (Debian: apt-get install chromium)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran = dict.fromkeys(("services", "browser"), 0)
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name in ran:
            ran[name] += report.when == "call" and name in report.keywords
    for name, count in ran.items():
        verdict = f"{count} tests ran" if count else "NOT RUN"
        terminalreporter.write_line(f"{name}: {verdict}")
