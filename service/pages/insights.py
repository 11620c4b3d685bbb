"""`/insights`: what became of the advice, for those who run the service and those who own the knowledge.

Every plot has its table and the same as CSV beside it. All of it are counts: no value of a chart, no id of a patient.
The questions, and what their numbers mean: service.audit.insights.
"""

from __future__ import annotations

import csv
import io
import re
from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup

from cds_hooks.errors import BadRequest, ServiceUnavailable, UnknownService
from service.knowledge_model.model import Knowledge
from service.pages import policy
from service.pages.plots import Row, Span, bars, columns, spans

if TYPE_CHECKING:
    from service.audit import AuditWriter
    from service.audit.report import Report

_HERE = Path(__file__).parent
_DAYS = 28
# So many rows can be told apart in a plot; so many of a table are shown at first.
_PLOTTED, _OPEN = 25, 12
# Beyond these years a database has no number for the time, or a day more no date.
_YEARS = 1970, 9000
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_OUTCOMES = ("accepted", "overridden", "ignored")


@dataclass(frozen=True, slots=True)
class Question:
    """A table of the report: what it tells, and how it is drawn from its rows, if it is."""

    name: str
    title: str
    tells: str
    draw: Callable[[str, Any], Markup] | None = None


class Table(NamedTuple):
    """A question with its answer, as the page shows it."""

    question: Question
    plot: Markup | None
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


def _weeks(title: str, rows: Iterable[Any]) -> Markup:
    series = (*_OUTCOMES, "suppressed")
    summed = _summed(rows, lambda row: row.week.isoformat(), series)
    return columns("weeks", title, [_words(name) for name in series], summed, "cards")


def _cards(title: str, rows: Iterable[Any]) -> Markup:
    summed = _summed(rows, lambda row: f"{row.recommendation} v{row.version}", _OUTCOMES)
    return bars("cards", title, _OUTCOMES, _most(summed), "cards")


def _reasons(title: str, rows: Iterable[Any]) -> Markup:
    summed = _summed(rows, lambda row: row.reason, ("cards",))
    return bars("override-reasons", title, ("cards",), _most(summed), "cards")


def _times(title: str, rows: Iterable[Any]) -> Markup:
    known = [row for row in rows if row.median_seconds is not None]
    most = sorted(known, key=lambda row: -row.cards)[:_PLOTTED]
    plotted = [
        Span(
            f"{row.recommendation}, {row.outcome}",
            row.quarter_seconds,
            row.median_seconds,
            row.three_quarters_seconds,
            row.client,
        )
        for row in most
    ]
    return spans("times-to-action", title, plotted, "seconds")


def _calls(title: str, rows: Sequence[Any]) -> Markup:
    plotted = [
        Row(
            ", ".join(filter(None, (row.service, row.hook))),
            (row.calls - row.without_card - row.refused, row.without_card, row.refused),
            row.client,
        )
        for row in rows
    ]
    return bars("calls", title, ("with a card", "without a card", "refused"), _most(plotted), "calls")


def _states(title: str, rows: Sequence[Any]) -> Markup:
    states = sorted({row.state for row in rows}, key=lambda state: (state != "supplied", state))
    counted: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in rows:
        of_key = counted[row.client, row.key]
        of_key[row.state] = of_key.get(row.state, 0) + row.calls
    plotted = [
        Row(key, [found.get(state, 0) for state in states], of=client) for (client, key), found in counted.items()
    ]
    return bars("data-states", title, states, _most(plotted), "calls")


def _burdens(title: str, rows: Sequence[Any]) -> Markup:
    plotted = [Row(f"{row.recommendation}, {row.topic}", (row.patients, row.repeats), row.client) for row in rows]
    return bars("burdens", title, ("first time for a patient", "again"), plotted[:_PLOTTED], "cards")


def _verdicts(title: str, rows: Iterable[Any]) -> Markup:
    return bars(
        "verdicts", title, ("calls",), _most(_summed(rows, lambda row: row.recommendation, ("calls",))), "calls"
    )


def _stages(title: str, rows: Sequence[Any]) -> Markup:
    plotted = [Row(f"{row.service}, {row.stage}", (row.mean_milliseconds,)) for row in rows]
    return bars("stages", title, ("mean",), _most(plotted), "milliseconds")


QUESTIONS = (
    Question(
        "weeks",
        "Cards by week",
        "What became of the cards of each week, which begins on a Monday; of a client, from its first card on.",
        _weeks,
    ),
    Question(
        "cards",
        "Cards by recommendation",
        "A card with several recommendations counts for each. Ignored: nothing was reported of it so far.",
        _cards,
    ),
    Question("override_reasons", "Reasons of overrides", "A card with two reasons counts for both.", _reasons),
    Question(
        "times_to_action",
        "Time to action",
        "Seconds from the first time that a card was shown until its latest outcome: median and middle half.",
        _times,
    ),
    Question("calls", "Calls", "With a card, without one, and refused.", _calls),
    Question("data_states", "Data that came", "How each prefetch key came: who never sends Observations?", _states),
    Question(
        "burdens", "Alert burden", "How often the same card came up again for the same patient, most first.", _burdens
    ),
    Question("verdicts", "Recommendations that held", "In how many calls, also where they were on no card.", _verdicts),
    Question("stages", "Time of each stage", "Of answered calls, in milliseconds.", _stages),
)


def create_blueprint(knowledge: Knowledge, audit: AuditWriter | None, clock: Callable[[], datetime]) -> Blueprint:
    """`/insights` and `/insights/<table>.csv` of this audit trail; without one, the page says that there is none."""
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "insights.css"))
    headers = {**policy.headers(style=style, form_action="'self'"), "Cache-Control": "no-store"}
    by_name = {_dashed(question.name): question for question in QUESTIONS}
    blueprint = Blueprint("insights", __name__, template_folder=".")

    @blueprint.get("/insights")
    def page() -> str:
        today = clock().date()
        first, last, client = _filters(today)
        made, clients = (None, ()) if audit is None else _asked(audit, first, last, client, today)
        chosen = {"from": first.isoformat(), "to": last.isoformat(), "client": client or ""}
        return render_template(
            "insights.html",
            title=knowledge.title,
            # A file of the product that holds no word of the knowledge.
            style=Markup(style),  # noqa: S704
            recorded=audit is not None,
            empty=made is None or not (made.totals.calls or made.totals.feedback),
            chosen=chosen,
            query=urlencode(chosen),
            clients=clients,
            totals=_totals(made) if made else (),
            never_sent=tuple(_never_sent(made)) if made else (),
            tables=tuple(_tables(made)) if made else (),
            words=_words,
            dashed=_dashed,
            open_rows=_OPEN,
        )

    @blueprint.get("/insights/<name>.csv")
    def table(name: str) -> Response:
        if name not in by_name:
            raise UnknownService("There is no such table; /insights has the list.")
        today = clock().date()
        asked = _filters(today)
        head, rows = _answer(_asked(audit, *asked, today)[0], by_name[name]) if audit else (_head(by_name[name]), ())
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerows([head, *rows])
        return Response(
            text.getvalue(),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="sitbone-{name}.csv"'},
        )

    @blueprint.after_request
    def guard(response: Response) -> Response:
        response.headers.update(headers)
        return response

    return blueprint


def _filters(today: date) -> tuple[date, date, str | None]:
    """First and last day, and the client; of the last four weeks and of all where the query does not say."""
    last = _day("to", today)
    first = _day("from", min(last, today) - timedelta(days=_DAYS - 1))
    return min(first, last), max(first, last), request.args.get("client") or None


def _day(name: str, otherwise: date) -> date:
    given = request.args.get(name)
    if not given:
        return otherwise
    if (parts := _DAY.fullmatch(given)) is None:
        raise BadRequest(f"{name}: expected a day, as in 2026-11-22, received something else.")
    year, month, day = map(int, parts.groups())
    year, month = min(max(year, _YEARS[0]), _YEARS[1]), min(max(month, 1), 12)
    return date(year, month, min(max(day, 1), monthrange(year, month)[1]))


def _asked(
    audit: AuditWriter, first: date, last: date, client: str | None, today: date
) -> tuple[Report, Sequence[str]]:
    """The report of a period, and the clients that called in it."""
    # Where no audit trail is kept, no database is loaded.
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.audit.database import reading  # noqa: PLC0415
    from service.audit.insights import Period, call_counts  # noqa: PLC0415
    from service.audit.report import report  # noqa: PLC0415

    period = Period.of_days(first, last, client)
    try:
        with reading(audit.engine) as connection:
            of_all = call_counts(connection, replace(period, client=None))
            return report(connection, period, today), sorted({row.client for row in of_all if row.client})
    except SQLAlchemyError:
        raise ServiceUnavailable(
            "The audit trail cannot be read at the moment. Ask again later.", retry_after=5
        ) from None


def _tables(report: Report) -> Iterator[Table]:
    for question in QUESTIONS:
        head, rows = _answer(report, question)
        answer = getattr(report, question.name)
        yield Table(question, question.draw(question.title, answer) if question.draw and answer else None, head, rows)


def _answer(report: Report, question: Question) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    head = _head(question)
    return head, [[getattr(row, name) for name in head] for row in getattr(report, question.name)]


def _head(question: Question) -> Sequence[str]:
    from service.audit.report import Report  # noqa: PLC0415

    return [field.name for field in fields(get_args(get_type_hints(Report)[question.name])[0])]


def _totals(report: Report) -> Sequence[tuple[str, int]]:
    return [(_words(field.name).capitalize(), getattr(report.totals, field.name)) for field in fields(report.totals)]


def _never_sent(report: Report) -> Iterator[str]:
    """Which client never sent what, in a sentence each; the first thing to look at where cards do not come."""
    calls: dict[tuple[str, str], int] = defaultdict(int)
    sent = set()
    for row in report.data_states:
        calls[row.client, row.key] += row.calls
        if row.state == "supplied":
            sent.add((row.client, row.key))
    for (client, key), number in sorted(calls.items()):
        if (client, key) not in sent:
            yield f"{client or 'Callers without a name'}: {key} never came with data, in {number} calls."


def _summed(rows: Iterable[Any], label: Callable[[Any], str], numbers: Sequence[str]) -> list[Row]:
    """A row for each label, in the order in which they come, with the sums of these members."""
    found: dict[str, list[int]] = {}
    for row in rows:
        sums = found.setdefault(label(row), [0] * len(numbers))
        sums[:] = (total + getattr(row, name) for total, name in zip(sums, numbers, strict=True))
    return [Row(label, sums) for label, sums in found.items()]


def _most(rows: Iterable[Row]) -> list[Row]:
    """The longest bars; the table has all."""
    return sorted(rows, key=lambda row: -sum(row.numbers))[:_PLOTTED]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _dashed(name: str) -> str:
    return name.replace("_", "-")
