"""Draws cards of the fixtures' responses as they look in a window of 600 pixels: that of the clinician's guide, and ten
that are each about something else (docs/cards.md).

Run `python docs/draw_card.py`; with `--check` it writes nothing and exits with 1 when a picture is stale. With
`--page FILE` it writes a page with every distinct card instead, to be looked at whole.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESPONSES = ROOT / "fixtures/responses"
IMAGES = ROOT / "docs/images"
# Response, number of the card, picture.
DRAWN = (
    ("sudden-pop-with-bruising", 0, "card"),
    ("cauda-equina", 0, "cards/cauda-equina"),
    ("infection", 0, "cards/infection"),
    ("radiating-nerve-symptoms", 0, "cards/nerve-symptoms"),
    ("proximal-hamstring-tendinopathy", 0, "cards/tendinopathy"),
    ("partial-avulsion", 0, "cards/partial-avulsion"),
    ("child-with-a-limp", 0, "cards/child"),
    ("imaging-referral-sign/wrong-side", 0, "cards/wrong-side"),
    ("analgesic-safety-sign/nsaid-with-kidney-disease", 0, "cards/nsaid"),
    ("appointment-timing/weakness-tomorrow", 0, "cards/appointment"),
    ("discharge-advice/self-care", 0, "cards/discharge"),
)
COLOURS = {"critical": ("#b3261e", "#fdecea"), "warning": ("#8a5a00", "#fff4e0"), "info": ("#0b5cad", "#e8f1fb")}
LABELS = {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO"}
WIDTH, MARGIN, LINE = 600, 24, 20
CHARACTERS, CHARACTERS_OF_SUMMARY, CHARACTERS_OF_LINKS = 76, 52, 88


class Drawing:
    """Lines of text from top to bottom."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y: float = MARGIN

    def text(self, text: str, *, size: int = 14, weight: str = "400", colour: str = "#1c1b1f", indent: int = 0) -> None:
        self.y += LINE
        self.parts.append(
            f'<text x="{MARGIN + indent}" y="{self.y}" font-size="{size}" font-weight="{weight}" fill="{colour}">'
            f"{escape(text)}</text>"
        )

    def wrapped(self, text: str) -> None:
        for line in textwrap.wrap(text, CHARACTERS):
            self.text(line)


def draw(card: dict[str, Any]) -> str:
    """The card as SVG."""
    strong, pale = COLOURS[card["indicator"]]
    drawing = Drawing()
    drawing.y += 4
    drawing.text(LABELS[card["indicator"]], size=12, weight="700", colour=strong)
    for line in textwrap.wrap(card["summary"], CHARACTERS_OF_SUMMARY):
        drawing.text(line, size=17, weight="700", colour=strong)
        drawing.y += 3
    band = drawing.y + 12
    drawing.y += 12
    *paragraphs, status = card["detail"].split("\n\n")
    for paragraph in paragraphs:
        heading, body = re.fullmatch(r"\*\*(.+?)\*\* (.+)", paragraph, re.DOTALL).groups()  # type: ignore[union-attr]
        drawing.y += 6
        drawing.text(heading, weight="700")
        drawing.wrapped(body)
    drawing.y += 14
    x: float = MARGIN
    for suggestion in card.get("suggestions", []):
        width = 24 + 7.6 * len(suggestion["label"])
        # What is wider than the card is written smaller.
        size = 13 * min(1, (WIDTH - 2 * MARGIN) / width)
        width = min(width, WIDTH - 2 * MARGIN)
        if x > MARGIN and x + width > WIDTH - MARGIN:
            x, drawing.y = MARGIN, drawing.y + 40
        drawing.parts.append(
            f'<rect x="{x:g}" y="{drawing.y:g}" width="{width:g}" height="30" rx="15" fill="{strong}"/>'
            f'<text x="{x + width / 2:g}" y="{drawing.y + 20:g}" font-size="{size:g}" font-weight="600" fill="#fff" '
            f'text-anchor="middle">{escape(suggestion["label"])}</text>'
        )
        x += width + 10
    drawing.y += 38
    reasons = ", ".join(reason["display"].lower() for reason in card["overrideReasons"][:2])
    drawing.text(f"Dismiss with a reason: {reasons}, …", size=12, colour="#5f5b66")
    links = "".join(f" · {link['label']}" for link in card["links"])
    for line in textwrap.wrap(f"Source: {card['source']['label']} · {status}{links}", CHARACTERS_OF_LINKS):
        drawing.text(line, size=12, colour="#5f5b66")
    height = drawing.y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" role=\"img\" "
        f'aria-label="{escape(card["summary"])}">'
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="10" fill="#ffffff" stroke="#d0ccd6"/>'
        f'<path d="M1 {band} V11 a10 10 0 0 1 10 -10 H{WIDTH - 11} a10 10 0 0 1 10 10 V{band} Z" fill="{pale}"/>'
        f'<rect x="1" y="11" width="6" height="{height - 22}" fill="{strong}"/>' + "\n".join(drawing.parts) + "</svg>\n"
    )


def cards_of(name: str) -> list[dict[str, Any]]:
    """The cards of a response of the fixtures."""
    found: list[dict[str, Any]] = json.loads((RESPONSES / f"{name}.json").read_text(encoding="utf-8")).get("cards", [])
    return found


def page() -> str:
    """Every distinct card of the fixtures, and how many words each has."""
    drawn: dict[tuple[str, str], str] = {}
    for path in sorted(RESPONSES.rglob("*.json")):
        name = path.relative_to(RESPONSES).with_suffix("").as_posix()
        for card in cards_of(name):
            words = len(card.get("detail", "").split())
            drawn.setdefault((card["summary"], card.get("detail", "")), f"<h2>{name}: {words} words</h2>{draw(card)}")
    head = f'<!doctype html><meta charset="utf-8"><title>Cards</title><h1>{len(drawn)} cards</h1>'
    return head + "".join(drawn.values())


def main() -> int:
    """Draw, or check that the pictures are the ones that would be drawn."""
    if "--page" in sys.argv[1:]:
        Path(sys.argv[-1]).write_text(page(), encoding="utf-8")
        return 0
    pictures = {IMAGES / f"{name}.svg": draw(cards_of(response)[number]) for response, number, name in DRAWN}
    if "--check" in sys.argv[1:]:
        stale = [file for file, picture in pictures.items() if not file.exists() or file.read_text("utf-8") != picture]
        for file in stale:
            sys.stderr.write(f"{file.relative_to(ROOT)} is stale: run python docs/draw_card.py\n")
        return int(bool(stale))
    for file, picture in pictures.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
