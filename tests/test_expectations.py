"""What is counted of a day, what a site expects of it, and the figures that its alerts stand on."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from service.app import create_app
from service.audit import AuditWriter
from service.audit.database import reading
from service.audit.days import ALL, CALL, COMPLAINT, FINDING, FIRED, UNREAD
from service.audit.expectations import Expected, Figure, observe, propose, read_expectations
from service.audit.insights import Period, start_of
from service.audit.schema import DAY, DAYS
from service.cli import main
from service.server.metrics import Metrics
from service.server.watch import Watch
from service.settings import Settings, SettingsError
from tests.recording import Clock, Site, environ
from tests.test_insights import History
from tests.test_metrics import read

pytest_plugins = ["tests.postgresql", "tests.audit_fixtures"]

TODAY = date(2026, 11, 30)
FLAGS = frozenset({"rl01", "rl03"})


class Days:
    """Counts of days as the service writes them; `ago` is how many days before today."""

    def __init__(self, audit: AuditWriter) -> None:
        self.audit = audit

    def count(
        self, ago: int, counts: dict[tuple[str, str], int], *, client: str = "clinic", mode: str = "live"
    ) -> None:
        at = start_of(TODAY) - ago * DAY
        names = ("at", "client", "mode", "kind", "name", "calls")
        rows = [dict(zip(names, (at, client, mode, *key, calls), strict=True)) for key, calls in counts.items()]
        with self.audit.engine.begin() as connection:
            connection.execute(insert(DAYS), rows)

    def figures(self, **expected: Any) -> dict[tuple[str, ...], float]:
        expectations = {"clinic": Expected(**expected)} if expected else {}
        with reading(self.audit.engine) as connection:
            found = observe(connection, expectations, TODAY)
        return {(each.metric, *each.labels): each.value for each in found}


@pytest.fixture
def days(audit: AuditWriter) -> Days:
    return Days(audit)


def calls(number: int, complaint: int = 0, **more: int) -> dict[tuple[str, str], int]:
    counts = {(CALL, ALL): number, (CALL, COMPLAINT): complaint}
    return counts | {(FIRED, name): count for name, count in more.items()}


def test_of_a_day_is_counted_what_came_and_fired_and_nothing_of_a_call(site: Site, clock: Clock) -> None:
    for _ in range(2):
        site.call("malignancy")
    site.call("hip-pain-alone")
    site.call("malignancy", extension={"org.sitbone.check": {}})
    site.audit.close()
    clock.move(days=1)
    site.call("malignancy")
    kept = site.rows("audit_days")
    assert {row["at"] % DAY for row in kept} == {0}
    assert {(row["client"], row["mode"]) for row in kept} == {("", "live")}
    first = {(row["kind"], row["name"]): row["calls"] for row in kept if row["at"] == min(r["at"] for r in kept)}
    assert (first[CALL, ALL], first[CALL, COMPLAINT], first[FIRED, "rl03-malignancy"]) == (3, 2, 2)
    assert {kind for kind, _name in first} <= {CALL, FIRED, FINDING, UNREAD}
    assert first[FINDING, "cancer-history"] == 2
    assert sum(row["calls"] for row in kept if (row["kind"], row["name"]) == (CALL, ALL)) == 4


def test_what_could_not_be_read_is_counted(site: Site) -> None:
    body = json.loads((Path(__file__).parents[1] / "fixtures/requests/malignancy.json").read_text("utf-8"))["prefetch"]
    del body["patient"]["birthDate"]
    body["observations"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/another"}
    site.call("malignancy", prefetch=body)
    unread = {row["name"]: row["calls"] for row in site.rows("audit_days") if row["kind"] == UNREAD}
    assert unread == {"no-age": 1, "other-patient": 1}


def test_what_is_frequent_is_expected_and_what_is_rare_is_a_sentence(days: Days) -> None:
    for ago in range(1, 29):
        days.count(ago, {**calls(20, 10, rs01=1), (UNREAD, "unreadable"): 1}, mode="silent")
        days.count(ago, calls(500, 400, rs01=400))
    days.count(29, {(FIRED, "rl03"): 50}, mode="silent")
    for ago in (3, 10):
        days.count(ago, {(FIRED, "rl03"): 1}, mode="silent")
    with reading(days.audit.engine) as connection:
        period = Period.of_days(TODAY - timedelta(days=28), TODAY - timedelta(days=1), mode="silent")
        text = propose(connection, period, FLAGS)
        nothing = propose(connection, Period.of_days(date(2020, 1, 1), date(2020, 1, 2), mode="silent"), FLAGS)
    assert nothing == ""
    found = tomllib.loads(text)["clients"]["clinic"]
    low, high = found["firing"]["rs01"]
    assert low < 28 / 280 < high
    # 4.6 are to be expected: at two in four weeks that is 65 days.
    assert found["absent"] == {"rl03": 65}
    assert "0.5 a week" in text
    assert "Not seen in these 28 days" in text
    assert text.index("# rl01") > text.index("Not seen")
    assert found["unread"] == {"unreadable": 0.05}
    assert "# 560 calls, 280 with the complaint." in text


def test_of_fewer_than_fifty_calls_no_share_is_expected_or_told(days: Days) -> None:
    days.count(1, calls(49, 49, rs01=49), mode="silent")
    with reading(days.audit.engine) as connection:
        text = propose(connection, Period.of_days(TODAY - timedelta(7), TODAY, mode="silent"), FLAGS)
    assert tomllib.loads(text)["clients"]["clinic"] == {"firing": {}, "absent": {}, "unread": {}}
    assert "Fewer than 50 with the complaint" in text
    assert not any(key[0].startswith(("fired", "unread")) for key in days.figures(firing={"rs01": (0, 0.1)}))


@pytest.mark.parametrize(("fired", "verdict"), [(0, "low"), (6, ""), (40, "high")])
def test_a_week_is_outside_where_all_of_its_interval_is(days: Days, fired: int, verdict: str) -> None:
    days.count(1, calls(400, 200, rs01=fired))
    # Neither today nor more than a week ago.
    days.count(0, calls(400, 200, rs01=200))
    days.count(8, calls(400, 200, rs01=200))
    found = days.figures(firing={"rs01": (0.04, 0.1)})
    of = ("clinic", "rs01")
    outside = {
        "low": found["fired_share_high", *of] < found["expected_share_low", *of],
        "high": found["fired_share_low", *of] > found["expected_share_high", *of],
    }
    assert [name for name, so in outside.items() if so] == ([verdict] if verdict else [])


def test_a_red_flag_is_absent_since_it_last_fired_or_since_anything_was_counted(days: Days) -> None:
    days.count(30, calls(10, 5, rl03=1))
    days.count(2, calls(10, 5))
    found = days.figures(absent={"rl03": 20, "rl01": 40})
    assert (found["flag_absent_days", "clinic", "rl03"], found["flag_absent_limit_days", "clinic", "rl03"]) == (29, 20)
    assert (found["flag_absent_days", "clinic", "rl01"], found["flag_absent_limit_days", "clinic", "rl01"]) == (29, 40)


def test_a_finding_is_silent_on_days_with_calls_alone(days: Days) -> None:
    for ago in range(60, 20, -1):
        # Closed on two days of seven.
        if ago % 7 not in (0, 1):
            days.count(ago, {(CALL, ALL): 5, (FINDING, "fever"): 1})
    for ago in (5, 4, 3, 2):
        days.count(ago, {(CALL, ALL): 5})
    found = days.figures()
    assert found["finding_silent_limit_days", "clinic", "fever"] == 3
    assert found["finding_silent_days", "clinic", "fever"] == 4


def test_what_seldom_came_has_stopped_nothing(days: Days) -> None:
    for ago in (40, 30, 20, 10):
        days.count(ago, {(CALL, ALL): 5, (FINDING, "fever"): 1})
    assert not any(key[0].startswith("finding") for key in days.figures())


def test_what_is_not_read_stands_beside_what_is_usual(days: Days) -> None:
    days.count(1, {(CALL, ALL): 100, (UNREAD, "unreadable"): 6, (UNREAD, "no-age"): 3})
    found = days.figures(unread={"unreadable": 0.02})
    assert (found["unread_share", "clinic", "unreadable"], found["unread_baseline", "clinic", "unreadable"]) == (
        0.06,
        0.02,
    )
    assert (found["unread_share", "clinic", "no-age"], found["unread_baseline", "clinic", "no-age"]) == (0.03, 0)
    assert not any(key[0].startswith("unread") for key in days.figures())


@pytest.mark.parametrize(("reason", "disagrees"), [("recipient-does-not-trust", True), ("action-completed", False)])
def test_disagreement_counts_from_ten_overrides_on(audit: AuditWriter, reason: str, *, disagrees: bool) -> None:
    history = History(audit)
    for number in range(10):
        low = Days(audit).figures().get(("disagreed_low", "r1"), 0.0)
        assert low == 0.0, number
        card = f"card-{number}"
        history.call({"uuid": card}, at=timedelta(days=7))
        history.feedback(card, "overridden", timedelta(days=7, hours=1), reasons=json.dumps([reason]))
    assert (Days(audit).figures()["disagreed_low", "r1"] > 0.2) is disagrees


def test_a_client_that_reported_and_reports_no_more_is_told_and_one_that_never_did_is_not(audit: AuditWriter) -> None:
    history = History(audit)
    # The Monday of its times is two weeks before today.
    for client in ("clinic", "never"):
        history.call({"uuid": f"{client}-1"}, at=timedelta(days=1), client=client)
        history.call({"uuid": f"{client}-2"}, at=timedelta(days=9), client=client)
    history.feedback("clinic-1", "accepted", timedelta(days=2))
    found = Days(audit).figures()
    assert (found["feedback_stopped", "clinic"], found["feedback_stopped", "never"]) == (1, 0)
    history.feedback("clinic-2", "accepted", timedelta(days=10))
    assert Days(audit).figures()["feedback_stopped", "clinic"] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[clients", "cannot be read as TOML"),
        ("[clients.a.firing]\nx = [0.1]\n", "clients.a.firing.x"),
        ("[clients.a.firing]\nx = [0.1, 2]\n", "clients.a.firing.x"),
        ("[clients.a.absent]\nx = 0\n", "clients.a.absent.x"),
        ("[clients.a.other]\n", "clients.a.other"),
        ("", "clients"),
    ],
)
def test_a_file_of_expectations_that_is_wrong_is_told_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    (file := tmp_path / "expectations.toml").write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=r"SITBONE_EXPECTATIONS") as refused:
        read_expectations(file)
    assert told in str(refused.value)


def test_what_is_proposed_can_be_used(site: Site, new_site: Callable[..., Site], clock: Clock, tmp_path: Path) -> None:
    silent = new_site(mode="silent")
    for _ in range(3):
        silent.call("malignancy")
    silent.audit.close()
    day = clock.now.date().isoformat()
    said = CliRunner().invoke(main, ["expect", "--since", day, "--until", day], env=environ(silent.settings))
    assert said.exit_code == 0, said.output
    (file := tmp_path / "expectations.toml").write_text(said.output, "utf-8")
    assert read_expectations(file)[""].absent == {"rl03-malignancy": 2}
    watching: Watch = new_site(expectations=file).client.application.extensions["watch"]
    told: list[Figure] = []
    watching._told = told.extend
    clock.move(days=3)
    watching.look()
    assert Figure("flag_absent_days", ("", "rl03-malignancy"), 2) in told
    assert Figure("flag_absent_limit_days", ("", "rl03-malignancy"), 2) in told
    nothing = CliRunner().invoke(main, ["expect", "--from-live", "--until", day], env=environ(silent.settings))
    assert nothing.exit_code == 2


def test_figures_are_metrics_and_what_is_no_longer_told_is_no_number() -> None:
    metrics = Metrics({})
    metrics.watched([Figure("fired_share_low", ("a", "r"), 0.1), Figure("disagreed_low", ("r",), 0.3)])
    metrics.watched([Figure("disagreed_low", ("r",), 0.4)])
    found = read(metrics.text().decode())
    [(labels, gone)] = found["sitbone_fired_share_low"]
    assert labels == {"client": "a", "rule": "r"}
    assert math.isnan(gone)
    assert found["sitbone_disagreed_low"] == [({"rule": "r"}, 0.4)]


def test_without_an_audit_trail_nothing_is_watched() -> None:
    assert create_app(Settings()).extensions["watch"] is None
