"""What those who write the knowledge are told of a month: counts by content, nobody's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from service.audit.days import ALL, CALL, COMPLAINT, FIRED
from service.audit.insights import start_of
from service.audit.schema import DAY, DAYS
from service.cli import main
from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED
from service.release.digests import Digests
from service.release.suspension import open_suspensions
from tests.charts import packaged
from tests.recording import Site, environ

pytest_plugins = ["tests.postgresql", "tests.audit_fixtures"]

FLAG = "rl03-malignancy"


@cache
def digest() -> str:
    return Digests(packaged(), None, "0").recommendations[FLAG]


def report(of: Site, *options: str, **variables: str) -> Any:
    given = ["author-report", "--month", "2026-11", *options]
    said = CliRunner().invoke(main, given, env=environ(of.settings) | variables)
    assert said.exit_code == 0, said.output
    return said.output


def of_flag(of: Site, **variables: str) -> list[dict[str, Any]]:
    found = json.loads(report(of, "--json", **variables))["recommendations"]
    return [each for each in found if each["recommendation"] == FLAG]


def card(of: Site) -> str:
    """The id of the card that the red flag stands on."""
    cards: list[dict[str, Any]] = of.call("malignancy").get_json()["cards"]
    return next(str(each["uuid"]) for each in cards if FLAG in json.dumps(each["extension"]))


def test_a_recommendation_is_told_by_its_content_with_what_became_of_it(site: Site) -> None:
    reasons = [{"reason": {"code": "recipient-does-not-trust", "system": "https://x.example.org"}}]
    cards = [card(site) for _ in range(4)]
    site.report(site.outcome(cards[0], "accepted"))
    site.report(site.outcome(cards[1], overrideReasons=reasons))
    site.report(site.outcome(cards[2]))
    site.audit.close()
    [row] = of_flag(site)
    assert row["digest"] == digest()
    assert (row["fired"], row["shown"], row["accepted"], row["overridden"], row["unreported"]) == (4, 4, 1, 2, 1)
    assert row["reasons"] == {"recipient-does-not-trust": 1, "none given": 1}
    text = report(site)
    assert f"{FLAG} {digest()}" in text
    assert "fired in 4 calls; on 4 cards: 1 accepted, 2 overridden (none given 1, recipient-does-not-trust 1)" in text
    assert "rl01-cauda-equina" in text.rpartition("Not seen")[2]


def test_another_content_of_the_same_recommendation_is_another_row(
    new_site: Callable[..., Site], tmp_path: Path
) -> None:
    (first := new_site()).call("malignancy")
    first.audit.close()
    shutil.copytree(PACKAGED, folder := tmp_path / "edited")
    file = folder / f"recommendations/{FLAG}.toml"
    file.write_text(file.read_text("utf-8").replace('strength = "evidence"', 'strength = "judgement"', 1), "utf-8")
    other = Digests(load(folder), folder, "0").recommendations[FLAG]
    (second := new_site(knowledge_dir=folder)).call("malignancy")
    second.audit.close()
    assert {(each["digest"], each["fired"]) for each in of_flag(second)} == {(digest(), 1), (other, 1)}


def test_no_patient_no_client_and_no_person_is_in_it_and_no_other_month(site: Site, tmp_path: Path) -> None:
    site.call("malignancy")
    site.clock.move(days=30)
    site.call("malignancy")
    site.audit.close()
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    suspensions = open_suspensions(site.settings.__class__(store=store))
    for month in (10, 11):
        at = datetime(2026, month, 20, tzinfo=UTC)
        suspensions.suspend([FLAG, "service:imaging-referral"], "Jane Doe", f"too often, month {month}", at)
    with site.audit.engine.begin() as connection:
        for column in ("client", "patient"):
            connection.exec_driver_sql(f"UPDATE audit_calls SET {column} = 'secret-{column}'")  # noqa: S608 - ours
    text = report(site, SITBONE_STORE=str(store))
    assert "suspended on 2026-11-20: too often, month 11" in text
    assert "service:imaging-referral" in text
    assert "month 10" not in text
    assert "fired in 1 calls" in text
    patient = json.loads((Path(__file__).parents[1] / "fixtures/requests/malignancy.json").read_text("utf-8"))
    for secret in ("Jane Doe", "secret-client", "secret-patient", patient["context"]["patientId"]):
        assert secret not in text


def test_weeks_outside_of_what_a_site_expects_are_counted(site: Site, tmp_path: Path) -> None:
    site.call("malignancy")
    site.audit.close()
    days = {2: 0, 9: 100, 16: 5, 23: 0}
    with site.audit.engine.begin() as connection:
        for day, fired in days.items():
            of_day = {"at": start_of(date(2026, 11, day)), "client": "ward", "mode": "live"}
            counts = {(CALL, ALL): 400, (CALL, COMPLAINT): 200, (FIRED, FLAG): fired}
            rows = [of_day | {"kind": kind, "name": name, "calls": calls} for (kind, name), calls in counts.items()]
            connection.execute(insert(DAYS), rows)
    assert DAY == 86_400_000
    (file := tmp_path / "expectations.toml").write_text(f"[clients.ward.firing]\n{FLAG} = [0.04, 0.06]\n", "utf-8")
    [row] = of_flag(site, SITBONE_EXPECTATIONS=str(file))
    assert (row["low"], row["high"]) == (2, 1)
    assert "ward" not in report(site, SITBONE_EXPECTATIONS=str(file))


@pytest.mark.parametrize("month", ["2026-13", "november"])
def test_what_is_no_month_is_refused(month: str) -> None:
    assert CliRunner().invoke(main, ["author-report", "--month", month]).exit_code == 2
