"""What a site expects of its calls (SITBONE_EXPECTATIONS), how it is proposed from its silent weeks, and how far what
was recorded is from it.

Everything is of whole days in UTC. The share of calls at which a recommendation fires is of those with the complaint.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from math import ceil, log
from pathlib import Path
from statistics import median
from typing import NamedTuple

from marshmallow import Schema, ValidationError, fields, validate
from sqlalchemy import Connection, func, select

from service.audit.days import ALL, CALL, COMPLAINT, FINDING, FIRED, UNREAD
from service.audit.insights import Period, disagreements, feedback_stopped, start_of
from service.audit.schema import DAY, DAYS
from service.knowledge_model.forms import reasons
from service.proportions import wilson
from service.settings import SettingsError

# Fewer calls tell nothing of a share.
FEWEST_CALLS = 50
CONFIDENCE = 0.99
# So many are expected while one stays away by chance only once in a hundred times: exp(-4.6).
_EXPECTED_ONCE = -log(1 - CONFIDENCE)
# In days: what the shares are of, how far back a finding is looked for, and what the disagreements are of.
WEEK, _FAR_BACK, _MONTH = 7, 180, 28
# On so many days a finding has to have come for a gap to be one, and so many gaps are no chance.
_FEWEST_DAYS, _GAPS = 5, 3
_FEWEST_OVERRIDES = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of one client.

    firing: recommendation -> between which shares it fires; absent: recommendation -> after how many days without it
    somebody has to look; unread: what cannot be read -> the usual share of all calls.
    """

    firing: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    absent: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, float] = field(default_factory=dict)


class Figure(NamedTuple):
    """One figure for the monitoring system: the name of the metric, the values of its labels, the value."""

    metric: str
    labels: tuple[str, ...]
    value: float


_SHARE = validate.Range(0, 1)


class _Client(Schema):
    firing = fields.Dict(
        fields.String(),
        fields.List(fields.Float(validate=_SHARE), validate=validate.Length(equal=2)),
        load_default=dict,
    )
    absent = fields.Dict(fields.String(), fields.Integer(validate=validate.Range(1)), load_default=dict)
    unread = fields.Dict(fields.String(), fields.Float(validate=_SHARE), load_default=dict)


class _File(Schema):
    clients = fields.Dict(fields.String(), fields.Nested(_Client), required=True)


def read_expectations(file: Path) -> Mapping[str, Expected]:
    """The expectations in a TOML file, by the name of the client. Raises SettingsError with file, place and reason."""
    try:
        loaded = _File().load(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} (SITBONE_EXPECTATIONS) cannot be read as TOML: {error}.") from error
    except ValidationError as error:
        place, reason = next(reasons(error.messages))
        raise SettingsError(f"{file} (SITBONE_EXPECTATIONS): {place}: {reason}") from error
    return {name: Expected(**members) for name, members in loaded["clients"].items()}


def propose(connection: Connection, period: Period, red_flags: frozenset[str]) -> str:
    """The text of a file of expectations, made of the calls of a period; empty where there were none. What is too rare
    to be expected stands in it as a sentence."""
    sums = _sums(connection, period.since, period.until, period.mode)
    clients = sorted({of for of, _kind, _name in sums if period.client in (None, of)})
    days = (period.until - period.since) // DAY
    lines = [f"# Proposed by `sitbone expect` from the {period.mode} calls of {days} days: read and edit it."]
    for client in clients:
        lines += ["", *_proposed(client, _of(client, sums), days, red_flags)]
    return "\n".join(lines) + "\n" if clients else ""


def _proposed(
    client: str, counts: Mapping[tuple[str, str], int], days: int, red_flags: frozenset[str]
) -> Iterator[str]:
    calls, complaint = (counts.get((CALL, which), 0) for which in (ALL, COMPLAINT))
    fired = {name: count for (kind, name), count in sorted(counts.items()) if kind == FIRED}
    place = f"clients.{json.dumps(client)}"
    yield f"# {calls} calls, {complaint} with the complaint."
    yield f"[{place}.firing]"
    if complaint < FEWEST_CALLS:
        yield f"# Fewer than {FEWEST_CALLS} with the complaint: no share of them tells anything, and none is expected."
    else:
        for name, count in fired.items():
            low, high = wilson(count, complaint, CONFIDENCE)
            yield f"{json.dumps(name)} = [{low:.4f}, {high:.4f}]"
    yield f"[{place}.absent]"
    for name in sorted(red_flags & fired.keys()):
        away = ceil(_EXPECTED_ONCE * days / fired[name])
        yield f"{json.dumps(name)} = {away}  # {fired[name] * WEEK / days:.1f} a week"
    if unseen := sorted(red_flags - fired.keys()):
        yield f"# Not seen in these {days} days, so that their absence tells nothing; the canary looks after them:"
        yield f"# {', '.join(unseen)}"
    yield f"[{place}.unread]"
    if calls >= FEWEST_CALLS:
        for (kind, name), count in sorted(counts.items()):
            if kind == UNREAD:
                yield f"{json.dumps(name)} = {count / calls:.4f}"


def _of(client: str, sums: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str], int]:
    """The counts of one client, by kind and name."""
    return {(kind, name): count for (of, kind, name), count in sums.items() if of == client}


def observe(connection: Connection, expectations: Mapping[str, Expected], today: date) -> tuple[Figure, ...]:
    """What the days before today were, beside what is expected of them."""
    until = start_of(today)
    week = _sums(connection, until - WEEK * DAY, until)
    clients = {client for client, _kind, _name in week} | expectations.keys()
    gauges: list[Figure] = []
    for client in sorted(clients):
        expected = expectations.get(client)
        if expected:
            gauges += _of_week(client, _of(client, week), expected)
            gauges += _absences(connection, client, expected, until)
        gauges += _silences(connection, client, until)
    month = Period(until - _MONTH * DAY, until)
    for each in disagreements(connection, month):
        enough = each.overridden >= _FEWEST_OVERRIDES
        low = wilson(each.disagreed, each.reported).low if enough else 0.0
        gauges.append(Figure("disagreed_low", (each.recommendation,), low))
    for client, stopped in feedback_stopped(connection, until - WEEK * DAY, until).items():
        gauges.append(Figure("feedback_stopped", (client,), float(stopped)))
    return tuple(gauges)


def _of_week(client: str, counts: Mapping[tuple[str, str], int], expected: Expected) -> Iterator[Figure]:
    calls, complaint = (counts.get((CALL, which), 0) for which in (ALL, COMPLAINT))
    if complaint >= FEWEST_CALLS:
        for rule, (low, high) in expected.firing.items():
            seen = wilson(counts.get((FIRED, rule), 0), complaint, CONFIDENCE)
            yield Figure("fired_share_low", (client, rule), seen.low)
            yield Figure("fired_share_high", (client, rule), seen.high)
            yield Figure("expected_share_low", (client, rule), low)
            yield Figure("expected_share_high", (client, rule), high)
    if calls >= FEWEST_CALLS:
        unread = {name for kind, name in counts if kind == UNREAD} | expected.unread.keys()
        for what in sorted(unread):
            yield Figure("unread_share", (client, what), counts.get((UNREAD, what), 0) / calls)
            yield Figure("unread_baseline", (client, what), expected.unread.get(what, 0.0))


def weeks_outside(
    connection: Connection, expectations: Mapping[str, Expected], period: Period
) -> dict[tuple[str, str], int]:
    """How many whole weeks of a client, of those that end in a period, a recommendation fired less or more often than
    expected: by its id, and `low` or `high`."""
    found: Counter[tuple[str, str]] = Counter()
    for until in range(period.since + WEEK * DAY, period.until + 1, WEEK * DAY):
        week = _sums(connection, until - WEEK * DAY, until)
        for client, expected in expectations.items():
            figures: dict[str, dict[str, float]] = defaultdict(dict)
            for each in _of_week(client, _of(client, week), expected):
                figures[each.metric][each.labels[-1]] = each.value
            for rule, high in figures["fired_share_high"].items():
                found[rule, "low"] += high < figures["expected_share_low"][rule]
                found[rule, "high"] += figures["fired_share_low"][rule] > figures["expected_share_high"][rule]
    return {key: weeks for key, weeks in found.items() if weeks}


def _absences(connection: Connection, client: str, expected: Expected, until: int) -> Iterator[Figure]:
    of = DAYS.c
    for rule, limit in expected.absent.items():
        seen = select(func.max(of.at)).where(of.client == client, of.kind == FIRED, of.name == rule, of.at < until)
        began = select(func.min(of.at)).where(of.client == client, of.kind == CALL)
        last = connection.scalar(seen) or connection.scalar(began)
        if last is not None:
            yield Figure("flag_absent_days", (client, rule), (until - last) // DAY - 1)
            yield Figure("flag_absent_limit_days", (client, rule), limit)


def _silences(connection: Connection, client: str, until: int) -> Iterator[Figure]:
    """How long each finding has not come, in days on which the client called: who is closed has stopped nothing."""
    of = DAYS.c
    rows = connection.execute(
        select(of.at, of.kind, of.name)
        .where(of.client == client, of.kind.in_((CALL, FINDING)), of.at >= until - _FAR_BACK * DAY, of.at < until)
        .distinct()
        .order_by(of.at)
    )
    days: dict[int, int] = {}
    came: dict[str, list[int]] = defaultdict(list)
    for at, kind, name in rows:
        number = days.setdefault(at, len(days))
        if kind == FINDING and (not came[name] or came[name][-1] != number):
            came[name].append(number)
    for name, numbers in sorted(came.items()):
        if len(numbers) >= _FEWEST_DAYS:
            gap = median(after - before for before, after in pairwise(numbers))
            yield Figure("finding_silent_days", (client, name), len(days) - 1 - numbers[-1])
            yield Figure("finding_silent_limit_days", (client, name), _GAPS * gap)


def _sums(connection: Connection, since: int, until: int, mode: str | None = None) -> dict[tuple[str, str, str], int]:
    """How many calls there were of each client, kind and name; of both modes where none is named."""
    of = DAYS.c
    asked = select(of.client, of.kind, of.name, func.sum(of.calls)).where(of.at >= since, of.at < until)
    asked = asked if mode is None else asked.where(of.mode == mode)
    rows = connection.execute(asked.group_by(of.client, of.kind, of.name))
    return {(client, kind, name): int(calls) for client, kind, name, calls in rows}
