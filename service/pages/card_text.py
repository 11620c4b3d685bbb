"""The text of a card as HTML: the part of Markdown that cards use. Text stays text: HTML in it is shown, never obeyed.

`static/markdown.js` does the same in the browser. Specification: CDS Service Response, detail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])|\*\*(?P<strong>.+?)\*\*|\*(?P<em>\S(?:.*?\S)?)\*|`(?P<code>[^`]+)`"
)
_ITEM = re.compile(r"\s*[-*+]\s+(.*)")
_HEADING = re.compile(r"#{1,6} +(.+)")


def as_html(text: str) -> Markup:
    """Paragraphs and lists; a heading is a paragraph in bold, as it stands within a card."""
    blocks = (block for block in re.split(r"\n{2,}", text.replace("\r\n", "\n").strip()) if block)
    return Markup("").join(part for block in blocks for part in _block(block.split("\n")))


def as_text(text: str) -> str:
    """Without any marks, for where there is plain text alone."""
    return _INLINE.sub(lambda match: as_text(next(filter(None, match.groups()))), text)


def _block(lines: list[str]) -> Iterator[Markup]:
    """A list for lines that are items, a paragraph for the others."""
    items: list[Markup] = []
    words: list[Markup] = []
    for line in lines:
        if item := _ITEM.match(line):
            yield from _paragraph(words)
            items.append(Markup("<li>{}</li>").format(_inline(item[1])))
            continue
        yield from _list(items)
        heading = _HEADING.match(line)
        words.append(Markup("<strong>{}</strong>").format(_inline(heading[1])) if heading else _inline(line))
    yield from _paragraph(words)
    yield from _list(items)


def _paragraph(words: list[Markup]) -> Iterator[Markup]:
    if words:
        yield Markup("<p>{}</p>").format(Markup("<br>").join(words))
        words.clear()


def _list(items: list[Markup]) -> Iterator[Markup]:
    if items:
        yield Markup("<ul>{}</ul>").format(Markup("").join(items))
        items.clear()


def _inline(text: str) -> Markup:
    made, place = Markup(""), 0
    for match in _INLINE.finditer(text):
        made += escape(text[place : match.start()])
        kind = match.lastgroup or ""
        inner = match[kind]
        made += escape(inner) if kind == "escaped" else Markup("<{0}>{1}</{0}>").format(kind, _inline(inner))
        place = match.end()
    return made + escape(text[place:])
