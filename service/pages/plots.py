"""Plots as SVG, for pages without a script. Whoever cannot see one has its title, what it shows, and the table beside.

Colours are those of insights.css, by the place of a series; nothing is told by colour alone, as the table has it all.
Bars and spans are as wide as there is room, on a phone too: their lengths are in percent, a label stands above its bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

# Pixels: of columns, which have a size of their own, and of the narrowest place for bars.
_WIDTH, _NARROW = 760, 320
# Percent of the width: where an axis begins and how long it is; the rest has room for a number.
_LEFT, _ACROSS = 2.0, 82.0
_ROW, _BAR, _LINE, _FOOT, _UNIT = 38, 15, 16, 26, 16
# Letters of a label that fit into the narrowest place, and of what is shortened for the rest of it.
_LETTERS, _FEWEST = 54, 9
_HIGH = 180
_TICKS = 5


class Row(NamedTuple):
    """What stands at one place of the axis, and the number of each series; `of` stands before the label and is
    shortened where both have no room."""

    label: str
    numbers: Sequence[float]
    of: str = ""


class Span(NamedTuple):
    """From where to where the middle half lies, and its median; `of` is as in Row."""

    label: str
    low: float
    middle: float
    high: float
    of: str = ""


class Balance(NamedTuple):
    """What stands at one place of the axis, and the points for and against it."""

    label: str
    speaks_for: float
    speaks_against: float


class Mark(NamedTuple):
    """What happened, or is due, so many days after the start; `kind` is the place of its colour."""

    day: float
    label: str
    kind: int = 0


def bars(id_: str, title: str, series: Sequence[str], rows: Sequence[Row], unit: str) -> Markup:
    """A bar for each row from left to right, in which the series stand one after the other; `unit` names the axis."""
    legend, head = _legend(series, _NARROW)
    step, top = _scale([sum(row.numbers) for row in rows])
    height = head + _ROW * len(rows)
    drawn = [legend, *_grid(step, top, head, height, unit)]
    for number, row in enumerate(rows):
        y, x = head + number * _ROW + _LINE, _LEFT
        drawn.append(_named(row, y - 4))
        for place, value in enumerate(row.numbers):
            wide = _ACROSS * value / top
            drawn.append(_box(place, x, y, wide, _BAR, of="%"))
            x += wide
        drawn.append(_beside(x, y + _BAR - 3, _number(sum(row.numbers))))
    shows = f"Bars of {_listed(series)} for {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, height + _FOOT + _UNIT, drawn)


def spans(id_: str, title: str, rows: Sequence[Span], unit: str) -> Markup:
    """A line for each row over the middle half, with a dot at the median."""
    step, top = _scale([row.high for row in rows])
    height = _ROW * len(rows)
    drawn = [*_grid(step, top, 0, height, unit)]
    for number, row in enumerate(rows):
        y = number * _ROW + _LINE
        low, middle, high = (_LEFT + _ACROSS * value / top for value in (row.low, row.middle, row.high))
        drawn.append(_named(row, y - 4))
        drawn.append(_line("span", low, y + _BAR / 2, high, y + _BAR / 2))
        drawn.append(Markup('<circle class="s0" cx="{:.2f}%" cy="{:.1f}" r="5"/>').format(middle, y + _BAR / 2))
        drawn.append(_beside(high, y + _BAR - 3, _number(row.middle)))
    shows = f"The median and the middle half for {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, height + _FOOT + _UNIT, drawn)


def columns(id_: str, title: str, series: Sequence[str], rows: Sequence[Row], unit: str) -> Markup:
    """A column for each row, from left to right, in which the series stand one upon the other."""
    legend, head = _legend(series, _WIDTH)
    left, base = 56, head + _HIGH
    step, top = _scale([sum(row.numbers) for row in rows])
    apart = (_WIDTH - left - 8) / max(len(rows), 1)
    wide = min(apart * 0.7, 48)
    # Not every label has room.
    every = max(1, math.ceil(78 / apart))
    drawn = [legend]
    for tick in range(round(top / step) + 1):
        y = base - _HIGH * tick * step / top
        drawn.append(_line("grid", left, y, _WIDTH, y, of=""))
        drawn.append(_text(left - 8, y + 4, _number(tick * step), "end"))
    for number, row in enumerate(rows):
        x, y = left + apart * (number + 0.5), float(base)
        for place, value in enumerate(row.numbers):
            high = _HIGH * value / top
            y -= high
            drawn.append(_box(place, x - wide / 2, y, wide, high))
        if number % every == 0:
            drawn.append(_text(x, base + 18, row.label, "middle"))
    shows = f"Columns of {_listed(series)} for {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, base + _FOOT, drawn, width=str(_WIDTH))


def balance(id_: str, title: str, rows: Sequence[Balance], unit: str) -> Markup:
    """For each row a bar to the right for what speaks for it, and one to the left for what speaks against it."""
    legend, head = _legend(("against", "for"), _NARROW)
    _step, top = _scale([max(row.speaks_for, row.speaks_against) for row in rows])
    half = _ACROSS / 2
    middle = _LEFT + half
    height = head + _ROW * len(rows)
    drawn = [legend, _line("grid", middle, head, middle, height)]
    for number, row in enumerate(rows):
        y = head + number * _ROW + _LINE
        drawn.append(_named(Row(row.label, ()), y - 4))
        against, speaks_for = (half * value / top for value in (row.speaks_against, row.speaks_for))
        drawn.append(_box(0, middle - against, y, against, _BAR, of="%"))
        drawn.append(_box(1, middle, y, speaks_for, _BAR, of="%"))
        drawn.append(_beside(middle + speaks_for, y + _BAR - 3, f"{row.speaks_for - row.speaks_against:+g}"))
    shows = f"Points for and against {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, height + _FOOT, drawn)


def time_line(id_: str, title: str, ticks: Sequence[int], marks: Sequence[Mark], unit: str) -> Markup:
    """A line of days from the start, with a row for each mark below it, in their order."""
    last = max([*ticks, *(mark.day for mark in marks), 1])
    axis, row = 24.0, 22.0
    height = axis + row * len(marks)

    def across(day: float) -> float:
        return _LEFT + _ACROSS * max(day, 0.0) / last

    drawn = [_line("grid", _LEFT, axis, _LEFT + _ACROSS, axis)]
    for tick in ticks:
        drawn.append(_line("grid", across(tick), axis - 4, across(tick), height))
        drawn.append(_text(across(tick), axis - 8, str(tick), "middle", "%"))
    for number, mark in enumerate(marks):
        x, y = across(mark.day), axis + row * (number + 0.6)
        drawn.append(Markup('<circle class="s{}" cx="{:.2f}%" cy="{:.1f}" r="5"/>').format(mark.kind, x, y))
        # On the side on which there is more room.
        anchor, beside = ("end", -9) if x > _LEFT + _ACROSS / 2 else ("start", 9)
        drawn.append(
            Markup('<text x="{:.2f}%" y="{:.1f}" dx="{}" text-anchor="{}">{}</text>').format(
                x, y + 4, beside, anchor, mark.label
            )
        )
    shows = f"{_count(marks)} on a line of days, in {unit}."
    return _picture(id_, title, shows, height + 8, drawn)


def _picture(
    id_: str, title: str, shows: str, height: float, drawn: Sequence[Markup], *, width: str = "100%"
) -> Markup:
    """As wide as there is room, where no width is given."""
    return Markup(
        '<svg class="plot" role="img" aria-labelledby="{0}-title {0}-shows" width="{1}" height="{2:.0f}">'
        '<title id="{0}-title">{3}</title><desc id="{0}-shows">{4}</desc>{5}</svg>'
    ).format(id_, width, height, title, shows, Markup("").join(drawn))


def _grid(step: float, top: float, head: float, height: float, unit: str) -> Sequence[Markup]:
    lines = []
    for tick in range(round(top / step) + 1):
        x = _LEFT + _ACROSS * tick * step / top
        lines.append(_line("grid", x, head, x, height))
        lines.append(_text(x, height + _LINE, _number(tick * step), "middle", "%"))
    return [*lines, _text(_LEFT + _ACROSS, height + _LINE + _UNIT, unit, "end", "%")]


def _legend(series: Sequence[str], across: float) -> tuple[Markup, float]:
    """In as many lines as it needs, and where what it is about begins below it."""
    drawn, x, y = Markup(""), 0.0, 4.0
    for place, name in enumerate(series):
        wide = 16 + 7.2 * len(name)
        if x and x + wide > across:
            x, y = 0.0, y + _LINE
        drawn += _box(place, x, y, 11, 11) + _text(x + 16, y + 10, name)
        x += wide + 20
    return drawn, y + 26


def _box(place: int, x: float, y: float, wide: float, high: float, *, of: str = "") -> Markup:
    """`of` is the unit of what lies across: nothing for pixels, or %."""
    if wide <= 0 or high <= 0:
        return Markup("")
    return Markup('<rect class="s{}" x="{:.2f}{of}" y="{:.1f}" width="{:.2f}{of}" height="{:.1f}"/>').format(
        place, x, y, wide, high, of=of
    )


def _line(kind: str, x: float, y: float, to_x: float, to_y: float, *, of: str = "%") -> Markup:
    return Markup('<line class="{}" x1="{:.2f}{of}" y1="{:.1f}" x2="{:.2f}{of}" y2="{:.1f}"/>').format(
        kind, x, y, to_x, to_y, of=of
    )


def _named(row: Row | Span, y: float) -> Markup:
    """The label of a row in as many letters as there is room for, with the whole of it for who points at it."""
    whole = f"{row.of}, {row.label}" if row.of else row.label
    room = max(_LETTERS - len(row.label) - 2, _FEWEST)
    words = f"{_shortened(row.of, room)}, {row.label}" if row.of else row.label
    return Markup('<text x="0" y="{:.1f}"><title>{}</title>{}</text>').format(y, whole, words)


def _shortened(words: str, letters: int) -> str:
    """Without its middle: names that begin alike often end differently."""
    if len(words) <= letters:
        return words
    end = (letters - 1) // 2
    return f"{words[: letters - 1 - end]}…{words[-end:]}"


def _beside(x: float, y: float, words: str) -> Markup:
    """At the end of a bar, which is at so many percent."""
    return Markup('<text x="{:.2f}%" y="{:.1f}" dx="8">{}</text>').format(x, y, words)


def _text(x: float, y: float, words: str, anchor: str = "start", of: str = "") -> Markup:
    return Markup('<text x="{:.1f}{}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, of, y, anchor, words)


def _scale(numbers: Sequence[float]) -> tuple[float, float]:
    """The distance of the ticks, and where the axis ends: at a round number that is not below any of these."""
    most = max(numbers, default=0)
    if most <= 0:
        return 1, 1
    # There is no half of what is counted.
    rough = max(most / _TICKS, 1 if all(isinstance(number, int) for number in numbers) else 0)
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return step, step * math.ceil(most / step)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"


def _listed(series: Sequence[str]) -> str:
    return ", ".join(series)


def _count(rows: Sequence[object]) -> str:
    return f"{len(rows)} {'entry' if len(rows) == 1 else 'entries'}"
