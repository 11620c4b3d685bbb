"""What `sitbone report` prints: all insights of a period, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

import orjson
from sqlalchemy import Connection

from service.audit import insights
from service.audit.insights import Period


@dataclass(frozen=True, slots=True)
class Report:
    """The answers to all questions of insights.py about one period."""

    totals: insights.Totals
    weeks: tuple[insights.WeekCount, ...]
    calls: tuple[insights.CallCount, ...]
    cards: tuple[insights.CardCount, ...]
    override_reasons: tuple[insights.ReasonCount, ...]
    times_to_action: tuple[insights.ActionTime, ...]
    data_states: tuple[insights.StateCount, ...]
    burdens: tuple[insights.Burden, ...]
    verdicts: tuple[insights.Verdict, ...]
    stages: tuple[insights.Stage, ...]
    pages: tuple[insights.PageCount, ...]


def report(connection: Connection, period: Period, today: date) -> Report:
    """Ask everything; `today` ends the weeks of a period that does not end before."""
    return Report(
        totals=insights.totals(connection, period),
        weeks=insights.week_counts(connection, period, today),
        calls=insights.call_counts(connection, period),
        cards=insights.card_counts(connection, period),
        override_reasons=insights.override_reasons(connection, period),
        times_to_action=insights.times_to_action(connection, period),
        data_states=insights.data_states(connection, period),
        burdens=insights.burdens(connection, period),
        verdicts=insights.verdicts(connection, period),
        stages=insights.stages(connection, period),
        pages=insights.page_counts(connection, period),
    )


def as_json(answers: Report, database: str, mode: str) -> str:
    """Members are those of the dataclasses, after the name of the database that was read and the mode of the calls."""
    return orjson.dumps({"database": database, "mode": mode, **asdict(answers)}, option=orjson.OPT_INDENT_2).decode()


def as_text(answers: Report) -> str:
    """A table for each question that has an answer."""
    parts = ["\n".join(f"{_words(name):<14}{number:>8}" for name, number in asdict(answers.totals).items())]
    tables = ((field.name, getattr(answers, field.name)) for field in fields(answers)[1:])
    parts += [f"{_words(name).capitalize()}\n{_table(rows)}" for name, rows in tables if rows]
    return "\n\n".join(parts)


def _table(rows: Sequence[Any]) -> str:
    head = [field.name for field in fields(rows[0])]
    lines = [[_words(name) for name in head], *([_cell(getattr(row, name)) for name in head] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None or value == "" else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
