"""The stylesheet's colours meet WCAG AA in light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = Path(__file__).parents[2] / "webapi" / "pages" / "static" / "gauntlet.css"


def tokens() -> dict[str, dict[str, str]]:
    """The colours of `:root`, by scheme."""
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in _root_blocks())
    return {"light": light, "dark": {**light, **dark}}


def _root_blocks() -> list[str]:
    return re.findall(r":root \{(.*?)\}", CSS.read_text(), flags=re.DOTALL)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mixed(colour: str, paper: str, share: float) -> str:
    """`color-mix(in srgb, colour share, paper)`."""
    pairs = [(int(colour[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def test_the_formula_against_known_ratios() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "warn", "fail"])
def test_text_stands_out_on_every_ground(scheme: str, ink: str) -> None:
    colours = tokens()[scheme]
    for ground in ("paper", "raised"):
        assert contrast(colours[ink], colours[ground]) >= 4.5, ground


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_notices_buttons_and_borders(scheme: str) -> None:
    colours = tokens()[scheme]
    for name, share in (("warn", 0.10), ("fail", 0.08), ("accent", 0.09)):
        ground = mixed(colours[name], colours["paper"], share)
        assert contrast(colours[name], ground) >= 4.5
        assert contrast(colours["ink"], ground) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["edge"], colours["paper"]) >= 3
    prompt = mixed(colours["ink"], colours["paper"], 0.8)
    assert contrast(prompt, colours["paper"]) >= 7
