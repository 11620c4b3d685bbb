"""What the audit trail answers about what was advised and what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection

from service.audit import AuditWriter, insights
from service.audit.database import reading
from service.audit.insights import NO_REASON, Period
from service.audit.report import report
from service.audit.rows import CallRows
from service.cli import main
from tests.recording import Site, environ

pytest_plugins = ["tests.postgresql", "tests.audit_fixtures"]

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
ALL = Period.of_days(date(2026, 11, 1), date(2026, 11, 30))
_NUMBERS = count()


def ms(after: timedelta) -> int:
    return int((MONDAY + after).timestamp() * 1000)


class History:
    """What happened, written as the service writes it; times are counted from a Monday."""

    def __init__(self, audit: AuditWriter) -> None:
        self.audit = audit

    def call(self, *cards: dict[str, Any], at: timedelta = timedelta(), **members: Any) -> None:
        id_ = f"{next(_NUMBERS):032}"
        call = {
            "id": id_,
            "at": ms(at),
            "correlation": "c",
            "hook_instance": None,
            "patient": "p",
            "client": "clinic",
            "service": "pain",
            "hook": "patient-view",
            "status": 200,
            "knowledge": "1.0",
            "states": '{"observations":"supplied","patient":"supplied"}',
            "fired": '{"r1":"info"}',
            "took": '{"answer":2000,"read":500}',
            "cards": sum("suppressed_since" not in card for card in cards),
            "is_check": False,
            "not_valid": None,
            "mode": "live",
            **members,
        }
        shared = {name: call[name] for name in ("at", "client", "patient", "service", "knowledge", "is_check", "mode")}
        self.audit.write([CallRows(call, tuple({"call": id_, **shared, **CARD, **card} for card in cards))])

    def feedback(self, card: str, outcome: str, at: timedelta, **members: Any) -> None:
        row = {
            "id": f"{next(_NUMBERS):032}",
            "at": ms(at),
            "place": 0,
            "correlation": "c",
            "client": "clinic",
            "service": "pain",
            "card": card,
            "outcome": outcome,
            "outcome_at": ms(at),
            "suggestions": "[]",
            "reasons": "[]",
            "commented": False,
            "times": 1,
            "is_check": False,
            **members,
        }
        self.audit.keep_feedback([row])


CARD = {
    "topic": "imaging",
    "indicator": "info",
    "red_flag": False,
    "recommendation": "r1",
    "version": 1,
    "recommendations": '[["r1",1]]',
    "suggestions": "[]",
    "suppressed_since": None,
}


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@pytest.fixture
def history(audit: AuditWriter) -> History:
    return History(audit)


@pytest.fixture
def connection(audit: AuditWriter) -> Iterator[Connection]:
    with reading(audit.engine) as connection:
        yield connection


def test_cards_are_counted_by_what_became_of_them(history: History, connection: Connection) -> None:
    history.call({"uuid": "a"}, {"uuid": "b"}, {"uuid": "c"}, {"uuid": "d", "suppressed_since": 1})
    history.feedback("a", "accepted", hours(1))
    history.feedback("b", "overridden", hours(1))
    [found] = insights.card_counts(connection, ALL)
    assert (found.week, found.client, found.service) == (MONDAY.date(), "clinic", "pain")
    assert (found.recommendation, found.version, found.knowledge) == ("r1", 1, "1.0")
    assert (found.shown, found.accepted, found.overridden, found.ignored, found.suppressed) == (3, 1, 1, 1, 1)
    assert insights.totals(connection, ALL) == insights.Totals(1, 0, 0, 3, 1, 1, 1, 1, 2, 0, 0, 0, 0)


def test_what_is_marked_as_of_a_check_is_in_no_figure_and_counted_by_itself(
    history: History, audit: AuditWriter
) -> None:
    history.call({"uuid": "a"})
    history.feedback("a", "accepted", hours(1))
    with reading(audit.engine) as connection:
        of_all_but_checks = report(connection, ALL, MONDAY.date())
    history.call({"uuid": "b"}, is_check=True)
    history.feedback("b", "overridden", hours(1), is_check=True)
    # Whoever marks a report cannot change what became of a card that was shown to somebody.
    history.feedback("a", "overridden", hours(2), is_check=True)
    with reading(audit.engine) as connection:
        found = report(connection, ALL, MONDAY.date())
        totals = insights.totals(connection, replace(ALL, with_checks=True))
    assert (found.totals.check_calls, found.totals.check_feedback) == (1, 2)
    assert replace(found, totals=replace(found.totals, check_calls=0, check_feedback=0)) == of_all_but_checks
    assert (totals.calls, totals.shown, totals.feedback, totals.overridden) == (2, 2, 3, 2)


@pytest.mark.parametrize("order", [("accepted", "overridden"), ("overridden", "accepted")])
def test_of_several_outcomes_the_latest_counts_in_whatever_order_they_came_and_both_are_history(
    order: tuple[str, str], history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"})
    first, last = order
    history.feedback("a", last, hours(5), outcome_at=ms(hours(3)))
    history.feedback("a", first, hours(6), outcome_at=ms(hours(2)))
    [found] = insights.card_counts(connection, ALL)
    assert getattr(found, last) == 1
    assert getattr(found, first) == 0
    assert [outcome.outcome for outcome in insights.history(connection, "clinic", "A")] == list(order)


def test_of_outcomes_with_one_time_the_last_one_of_the_batch_counts(history: History, connection: Connection) -> None:
    history.call({"uuid": "a"})
    history.feedback("a", "overridden", hours(1), place=1)
    history.feedback("a", "accepted", hours(1), place=0)
    assert insights.totals(connection, ALL).overridden == 1


def test_a_card_that_was_asked_for_twice_is_one_card(history: History, connection: Connection) -> None:
    history.call({"uuid": "a"})
    history.call({"uuid": "a"}, at=hours(1))
    history.feedback("a", "accepted", hours(2))
    totals = insights.totals(connection, ALL)
    assert (totals.calls, totals.shown, totals.accepted) == (2, 1, 1)


def test_an_outcome_is_no_later_than_its_report_whatever_the_clock_of_the_client_says(
    history: History, connection: Connection
) -> None:
    end = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
    history.call({"uuid": "a"}, {"uuid": "b"})
    history.feedback("a", "accepted", hours(1), outcome_at=end)
    history.feedback("a", "overridden", hours(2))
    history.feedback("b", "accepted", hours(1), outcome_at=end)
    totals = insights.totals(connection, ALL)
    assert (totals.accepted, totals.overridden) == (1, 1)
    times = insights.times_to_action(connection, ALL)
    assert [(each.outcome, each.median_seconds, each.early) for each in times] == [
        ("accepted", 3600.0, 0),
        ("overridden", 7200.0, 0),
    ]
    told = insights.history(connection, "clinic", "a")
    assert [(each.outcome, each.outcome_at.year) for each in told] == [("accepted", 9999), ("overridden", 2026)]


def test_a_clock_that_is_a_little_ahead_keeps_the_order_of_a_batch(history: History, connection: Connection) -> None:
    history.call({"uuid": "a"})
    history.feedback("a", "accepted", hours(1), place=0, outcome_at=ms(hours(1.2)))
    history.feedback("a", "overridden", hours(1), place=1, outcome_at=ms(hours(1.1)))
    assert insights.totals(connection, ALL).accepted == 1


def test_a_card_that_was_overridden_and_then_suppressed_was_overridden_once(
    history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"})
    history.feedback("a", "overridden", hours(1))
    history.call({"uuid": "a", "suppressed_since": ms(hours(1))}, at=hours(2))
    totals = insights.totals(connection, ALL)
    assert (totals.shown, totals.overridden, totals.suppressed) == (1, 1, 1)
    [reason] = insights.override_reasons(connection, ALL)
    assert reason.cards == 1
    [burden] = insights.burdens(connection, ALL)
    assert (burden.cards, burden.overridden, burden.suppressed) == (1, 1, 1)


def test_a_week_in_which_nothing_came_is_a_week_of_zeros(history: History, connection: Connection) -> None:
    history.call({"uuid": "a"}, at=timedelta(days=-10))
    history.call({"uuid": "b"}, at=timedelta(days=14))
    history.call({"uuid": "c"}, at=timedelta(days=7), client="other")
    period = Period.of_days(date(2026, 10, 1), date(2026, 12, 31))
    found = insights.week_counts(connection, period, date(2026, 12, 7))
    assert [(each.week.isoformat(), each.client, each.shown) for each in found] == [
        ("2026-11-02", "clinic", 1),
        ("2026-11-09", "clinic", 0),
        ("2026-11-16", "clinic", 0),
        ("2026-11-23", "clinic", 0),
        ("2026-11-23", "other", 1),
        ("2026-11-30", "clinic", 1),
        ("2026-11-30", "other", 0),
        ("2026-12-07", "clinic", 0),
        ("2026-12-07", "other", 0),
    ]


@pytest.mark.parametrize(
    ("last", "today", "weeks"),
    [
        (date(2026, 11, 22), date(2026, 12, 31), 1),
        (date(2026, 11, 23), date(2026, 12, 31), 2),
        (date(9000, 12, 31), date(2026, 11, 29), 2),
        (date(9000, 12, 31), date(2026, 11, 30), 3),
        # Written by a host whose clock is ahead.
        (date(9000, 12, 31), date(2026, 11, 1), 1),
    ],
)
def test_weeks_end_with_the_period_or_with_today(
    last: date, today: date, weeks: int, history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"})
    found = insights.week_counts(connection, Period.of_days(date(1970, 1, 1), last), today)
    assert [each.shown for each in found] == [1, *[0] * (weeks - 1)]


def test_a_card_counts_for_each_recommendation_week_client_and_version(
    history: History, connection: Connection
) -> None:
    both = '[["r1",1],["r2",3]]'
    history.call({"uuid": "a", "recommendations": both})
    history.call({"uuid": "b"}, at=timedelta(days=7) - timedelta(milliseconds=1))
    history.call({"uuid": "c"}, at=timedelta(days=7))
    history.call({"uuid": "d"}, client="other")
    history.call({"uuid": "e"}, knowledge="1.1")
    history.call({"uuid": "f", "recommendations": '[["r1",2]]'})
    found = {
        (each.week.day, each.client, each.recommendation, each.version, each.knowledge): each.shown
        for each in insights.card_counts(connection, ALL)
    }
    assert found == {
        (16, "clinic", "r1", 1, "1.0"): 2,
        (16, "clinic", "r2", 3, "1.0"): 1,
        (23, "clinic", "r1", 1, "1.0"): 1,
        (16, "other", "r1", 1, "1.0"): 1,
        (16, "clinic", "r1", 1, "1.1"): 1,
        (16, "clinic", "r1", 2, "1.0"): 1,
    }


def test_a_period_has_its_first_and_its_last_day_and_may_be_of_one_client(
    history: History, connection: Connection
) -> None:
    for days in (-1, 0, 1, 2):
        history.call({"uuid": f"a{days}"}, at=timedelta(days=days))
    history.call({"uuid": "b"}, client="other")
    monday = MONDAY.date()
    assert insights.totals(connection, Period.of_days(monday, monday + timedelta(days=1))).shown == 3
    assert insights.totals(connection, Period.of_days(monday, monday, "clinic")).calls == 1
    assert insights.totals(connection, Period.of_days(monday, monday, "nobody")).shown == 0


def test_what_another_client_says_of_a_card_is_feedback_on_an_unknown_card(
    history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"})
    history.feedback("a", "accepted", hours(1), client="other")
    history.feedback("z", "accepted", hours(1), times=3)
    totals = insights.totals(connection, ALL)
    assert (totals.ignored, totals.accepted) == (1, 0)
    assert (totals.feedback, totals.repeated, totals.unknown_cards) == (2, 2, 2)
    [unknown] = insights.history(connection, "clinic", "z")
    assert not unknown.known
    assert unknown.times == 3


def test_reasons_of_overrides_are_counted_by_card_the_most_frequent_first(
    history: History, connection: Connection
) -> None:
    history.call(*({"uuid": each} for each in "abcd"))
    history.feedback("a", "overridden", hours(1), reasons='["x"]', commented=True)
    history.feedback("b", "overridden", hours(1), reasons='["other","x"]')
    history.feedback("c", "overridden", hours(1))
    history.feedback("d", "accepted", hours(1), reasons='["x"]')
    found = insights.override_reasons(connection, ALL)
    assert [(each.reason, each.cards, each.commented) for each in found] == [
        ("x", 2, 1),
        (NO_REASON, 1, 0),
        ("other", 1, 0),
    ]
    assert {(each.client, each.topic, each.recommendation, each.version) for each in found} == {
        ("clinic", "imaging", "r1", 1)
    }


def test_times_to_action_begin_when_a_card_is_first_shown_and_leave_out_clocks_that_differ(
    history: History, connection: Connection
) -> None:
    history.call(*({"uuid": each} for each in "abcde"))
    history.call({"uuid": "a"}, at=hours(1))
    for number, card in enumerate("abcd", start=1):
        history.feedback(card, "accepted", timedelta(seconds=10 * number))
    history.feedback("e", "accepted", timedelta(hours=2), outcome_at=ms(-hours(1)))
    [found] = insights.times_to_action(connection, ALL)
    assert (found.outcome, found.cards, found.early) == ("accepted", 5, 1)
    assert (found.quarter_seconds, found.median_seconds, found.three_quarters_seconds) == (17.5, 25.0, 32.5)


def test_a_single_time_to_action_is_its_own_median_and_one_that_cannot_be_has_none(
    history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"}, {"uuid": "b"})
    history.feedback("a", "accepted", timedelta(seconds=8))
    history.feedback("b", "overridden", hours(1), outcome_at=ms(-hours(1)))
    accepted, overridden = insights.times_to_action(connection, ALL)
    assert (accepted.quarter_seconds, accepted.median_seconds, accepted.three_quarters_seconds) == (8.0, 8.0, 8.0)
    assert (overridden.cards, overridden.early, overridden.median_seconds) == (1, 1, None)


def test_calls_are_counted_with_those_that_had_nothing_to_say_and_those_that_were_refused(
    history: History, connection: Connection
) -> None:
    history.call({"uuid": "a"})
    history.call()
    history.call(status=412)
    history.call(status=400, hook=None)
    found = insights.call_counts(connection, ALL)
    assert [(each.hook, each.calls, each.without_card, each.refused) for each in found] == [
        ("", 1, 0, 1),
        ("patient-view", 3, 1, 1),
    ]


def test_states_of_the_data_are_counted_by_client(history: History, connection: Connection) -> None:
    history.call()
    history.call(client="rural", states='{"observations":"missing"}')
    history.call(client="rural", states='{"observations":"missing"}')
    found = {(each.client, each.key, each.state): each.calls for each in insights.data_states(connection, ALL)}
    assert found == {
        ("clinic", "observations", "supplied"): 1,
        ("clinic", "patient", "supplied"): 1,
        ("rural", "observations", "missing"): 2,
    }


def test_verdicts_and_stages_are_counted(history: History, connection: Connection) -> None:
    history.call()
    history.call(fired='{"r1":"info","r2":""}', took='{"answer":4000}')
    history.call(status=500, fired="{}", took='{"answer":9000}')
    found = {(each.recommendation, each.indicator): each.calls for each in insights.verdicts(connection, ALL)}
    assert found == {("r1", "info"): 2, ("r2", ""): 1}
    stages = {
        each.stage: (each.calls, each.mean_milliseconds, each.longest_milliseconds)
        for each in insights.stages(connection, ALL)
    }
    assert stages == {"answer": (2, 3.0, 4.0), "read": (1, 0.5, 0.5)}


def test_the_burden_is_how_often_the_same_card_came_up_for_the_same_patient(
    history: History, connection: Connection
) -> None:
    for number in range(3):
        history.call({"uuid": f"a{number}"}, at=hours(number))
    history.call({"uuid": "b"}, patient="q")
    history.call({"uuid": "c", "suppressed_since": 1}, patient="r")
    history.call({"uuid": "d", "version": 2}, {"uuid": "e", "topic": "treatment"})
    history.feedback("a0", "overridden", hours(1))
    first, *others = insights.burdens(connection, ALL)
    assert (first.client, first.topic, first.recommendation, first.version) == ("clinic", "imaging", "r1", 1)
    assert (first.patients, first.cards, first.repeats, first.most) == (2, 4, 2, 3)
    assert (first.overridden, first.suppressed) == (1, 1)
    assert [(each.topic, each.version, each.repeats) for each in others] == [("imaging", 2, 0), ("treatment", 1, 0)]


def test_an_empty_record_has_an_answer_to_everything(connection: Connection) -> None:
    assert insights.totals(connection, ALL) == insights.Totals(*[0] * 13)
    assert not insights.card_counts(connection, ALL)
    assert not insights.burdens(connection, ALL)


def command(site: Site, *options: str) -> str:
    printed = CliRunner().invoke(main, ["report", *options], env=environ(site.settings))
    assert printed.exit_code == 0, printed.output
    return printed.output


def test_a_report_tells_of_a_real_call_from_card_to_feedback(site: Site) -> None:
    cards = site.call().get_json()["cards"]
    site.audit.close()
    site.clock.move(seconds=30)
    assert site.report(site.outcome(cards[0]["uuid"], "accepted")) == 200
    days = ("--since", "2026-11-23", "--until", "2026-11-23")
    told = json.loads(command(site, *days, "--json"))
    assert told["totals"]["shown"] == len(cards)
    assert told["totals"]["accepted"] == 1
    assert told["times_to_action"][0]["median_seconds"] == 30.0
    assert {each["week"] for each in told["cards"]} == {"2026-11-23"}
    text = command(site, *days)
    assert text.startswith(f"{told['database']}\n2026-11-23 to 2026-11-23, live\n")
    assert "median seconds" in text
    assert "mean milliseconds" in text
    for heading in ("Calls", "Cards", "Times to action", "Data states", "Burdens", "Verdicts", "Stages"):
        assert f"\n{heading}\n" in text
    assert json.loads(command(site, "--until", "2026-11-22", "--json"))["totals"]["calls"] == 0
    assert json.loads(command(site, *days, "--client", "nobody", "--json"))["totals"]["calls"] == 0


def test_a_report_of_no_days_is_refused() -> None:
    refused = CliRunner().invoke(main, ["report", "--since", "2026-11-02", "--until", "2026-11-01"])
    assert refused.exit_code == 2
    assert "--since is after --until" in refused.output


@pytest.mark.parametrize(
    "days",
    [
        ["--until", "9999-12-31"],
        ["--until", "0001-01-01"],
        ["--since", "0001-01-01"],
        ["--since", "9999-12-31", "--until", "9999-12-31"],
    ],
    ids=" ".join,
)
def test_a_report_of_days_without_a_number_is_refused(days: list[str]) -> None:
    refused = CliRunner().invoke(main, ["report", *days])
    assert refused.exit_code == 2
    assert refused.output == "--since and --until take days from 1970-01-01 to 9000-12-31.\n"
