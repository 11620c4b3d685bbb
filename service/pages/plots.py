"""Plots as SVG, for pages without a script. Whoever cannot see one has its title, what it shows, and the table beside.

Colours are those of insights.css, by the place of a series; nothing is told by colour alone, as the table has it all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

# Pixels at its own size; letters of a label that fit beside a bar.
_WIDTH, _ASIDE, _ROOM = 760, 300, 70
_ROW, _BAR, _TOP, _FOOT = 24, 15, 34, 26
_LETTERS = 44
_HIGH = 180
_TICKS = 5


class Row(NamedTuple):
    """What stands at one place of the axis, and the number of each series."""

    label: str
    numbers: Sequence[float]


class Span(NamedTuple):
    """From where to where the middle half lies, and its median."""

    label: str
    low: float
    middle: float
    high: float


def bars(id_: str, title: str, series: Sequence[str], rows: Sequence[Row], unit: str) -> Markup:
    """A bar for each row from left to right, in which the series stand one after the other; `unit` names the axis."""
    left, across, height = _ASIDE, _WIDTH - _ASIDE - _ROOM, _TOP + _ROW * len(rows)
    step, top = _scale([sum(row.numbers) for row in rows])
    drawn = [_legend(series), *_grid(step, top, height, unit)]
    for number, row in enumerate(rows):
        y, x = _TOP + number * _ROW, float(left)
        drawn.append(_label(row.label, left - 8, y + _BAR - 3))
        for place, value in enumerate(row.numbers):
            wide = across * value / top
            drawn.append(_box(place, x, y, wide, _BAR))
            x += wide
        drawn.append(_text(x + 5, y + _BAR - 3, _number(sum(row.numbers))))
    return _picture(id_, title, f"Bars of {_listed(series)} for {_count(rows)}, in {unit}.", height + _FOOT, drawn)


def spans(id_: str, title: str, rows: Sequence[Span], unit: str) -> Markup:
    """A line for each row over the middle half, with a dot at the median."""
    left, across, height = _ASIDE, _WIDTH - _ASIDE - _ROOM, _TOP + _ROW * len(rows)
    step, top = _scale([row.high for row in rows])
    drawn = [*_grid(step, top, height, unit)]
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW + _BAR / 2
        low, middle, high = (left + across * value / top for value in row[1:])
        drawn.append(_label(row.label, left - 8, y + 4))
        drawn.append(Markup('<path class="span" d="M{:.1f} {:.1f}H{:.1f}"/>').format(low, y, high))
        drawn.append(Markup('<circle class="s0" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(middle, y))
        drawn.append(_text(high + 8, y + 4, _number(row.middle)))
    shows = f"The median and the middle half for {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, height + _FOOT, drawn)


def columns(id_: str, title: str, series: Sequence[str], rows: Sequence[Row], unit: str) -> Markup:
    """A column for each row, from left to right, in which the series stand one upon the other."""
    left, base = 56, _TOP + _HIGH
    step, top = _scale([sum(row.numbers) for row in rows])
    apart = (_WIDTH - left - 8) / max(len(rows), 1)
    wide = min(apart * 0.7, 48)
    # Not every label has room.
    every = max(1, math.ceil(78 / apart))
    drawn = [_legend(series)]
    for tick in range(round(top / step) + 1):
        y = base - _HIGH * tick * step / top
        drawn.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(left, y, _WIDTH))
        drawn.append(_label(_number(tick * step), left - 8, y + 4))
    for number, row in enumerate(rows):
        x, y = left + apart * (number + 0.5), float(base)
        for place, value in enumerate(row.numbers):
            high = _HIGH * value / top
            y -= high
            drawn.append(_box(place, x - wide / 2, y, wide, high))
        if number % every == 0:
            drawn.append(_text(x, base + 18, row.label, "middle"))
    shows = f"Columns of {_listed(series)} for {_count(rows)}, in {unit}."
    return _picture(id_, title, shows, base + _FOOT, drawn)


def _picture(id_: str, title: str, shows: str, height: float, drawn: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="plot" role="img" aria-labelledby="{0}-title {0}-shows" viewBox="0 0 {1} {2:.0f}" width="{1}">'
        '<title id="{0}-title">{3}</title><desc id="{0}-shows">{4}</desc>{5}</svg>'
    ).format(id_, _WIDTH, height, title, shows, Markup("").join(drawn))


def _grid(step: float, top: float, height: float, unit: str) -> Sequence[Markup]:
    lines, left, across = [], _ASIDE, _WIDTH - _ASIDE - _ROOM
    for tick in range(round(top / step) + 1):
        x = left + across * tick * step / top
        lines.append(Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(x, _TOP - 6, height))
        lines.append(_text(x, height + 14, _number(tick * step), "middle"))
    return [*lines, _label(unit, left - 8, height + 14)]


def _legend(series: Sequence[str]) -> Markup:
    drawn, x = Markup(""), 0.0
    for place, name in enumerate(series):
        drawn += _box(place, x, 4, 11, 11) + _text(x + 16, 14, name)
        x += 36 + 7.2 * len(name)
    return drawn


def _box(place: int, x: float, y: float, wide: float, high: float) -> Markup:
    if wide <= 0 or high <= 0:
        return Markup("")
    return Markup('<rect class="s{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        place, x, y, wide, high
    )


def _label(words: str, x: float, y: float) -> Markup:
    return _text(x, y, words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…", "end")


def _text(x: float, y: float, words: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, words)


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
