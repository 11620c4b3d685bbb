"""What the audit trail has of a page: its steps, told from calls of hooks, and nothing of the answers."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.app import create_app
from service.audit import insights, open_audit
from service.audit.database import reading
from service.audit.insights import Period
from service.audit.writer import AuditWriter
from service.cli import main
from tests.recording import rows
from tests.second_opinion.conftest import MakeSite, Site
from tests.second_opinion.test_drafting import drafts


@pytest.fixture
def kept(make_site: MakeSite, tmp_path: Path) -> tuple[Site, AuditWriter]:
    """A site with an audit trail, on whose page an answer was given, saved and followed by a draft."""
    site = make_site(write=["QuestionnaireResponse", "ServiceRequest"])
    site.ehr.writable = {"QuestionnaireResponse", "ServiceRequest"}
    (tmp_path / "audit").mkdir(mode=0o700)
    settings = replace(site.settings, audit=tmp_path / "audit", log_key="0123456789abcdef")
    audit = open_audit(settings)
    assert audit is not None
    site.app = create_app(settings, clock=site.time, audit=audit)
    page = site.open()
    for finding in ("pop-at-injury", "sudden-onset", "sharp-pain"):
        page = page.press(f"set:right/{finding}=yes")
    page = page.press("enough")
    site.ehr.faults.answers[("POST", "QuestionnaireResponse")] = [403]
    page = page.press("save").press("save")
    page.press(drafts(page)[0]).press("done")
    audit.close()
    return site, audit


def test_each_step_of_a_page_is_kept_without_any_answer(kept: tuple[Site, AuditWriter]) -> None:
    site, audit = kept
    steps = sorted(rows(audit.engine, "audit_pages"), key=lambda row: row["at"])
    told = [(row["step"], row["answers"], row["written_as"], row["written"]) for row in steps]
    assert told == [
        ("shown", 0, "", 0),
        ("answered", 1, "", 0),
        ("answered", 2, "", 0),
        ("answered", 3, "", 0),
        ("saved", 3, "QuestionnaireResponse", 0),
        ("saved", 3, "QuestionnaireResponse", 1),
        ("drafted", 3, "ServiceRequest", 1),
    ]
    for name in ("page", "patient", "client", "knowledge"):
        assert len({row[name] for row in steps}) == 1, name
    assert steps[0]["client"] == "clinic"
    assert len({row["correlation"] for row in steps}) == len(steps)
    assert "critical" not in json.loads(steps[0]["fired"]).values()
    assert "critical" in json.loads(steps[3]["fired"]).values()
    whole = json.dumps([{name: value for name, value in row.items() if name != "fired"} for row in steps])
    tokens = [*site.ehr.tokens, *site.ehr.revoked]
    for never in ("1032702", "Sample", "4451", "pop", "yes", "right", "89284", "new-1", *tokens):
        assert never not in whole


def test_a_page_is_no_call_of_a_hook_and_the_report_tells_them_apart(
    kept: tuple[Site, AuditWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    _site, audit = kept
    assert rows(audit.engine, "audit_calls") == rows(audit.engine, "audit_cards") == []
    period = Period.of_days(date(2026, 1, 1), date(2099, 1, 1))
    with reading(audit.engine) as connection:
        counted = {(each.step, each.written_as): each for each in insights.page_counts(connection, period)}
        assert insights.totals(connection, period).calls == 0
        assert insights.page_counts(connection, replace(period, client="county")) == ()
        assert insights.page_counts(connection, replace(period, mode="silent")) == ()
    found = {key: (each.pages, each.times, each.written) for key, each in counted.items()}
    assert found == {
        ("shown", ""): (1, 1, 0),
        ("answered", ""): (1, 3, 0),
        ("saved", "QuestionnaireResponse"): (1, 2, 1),
        ("drafted", "ServiceRequest"): (1, 1, 1),
    }
    monkeypatch.setenv("SITBONE_AUDIT", str(audit.engine.url.database).removesuffix("/record.sqlite"))
    report: Any = CliRunner().invoke(main, ["report"])
    assert report.exit_code == 0, report.output
    assert "Pages" in report.output
    assert "QuestionnaireResponse" in report.output


def test_a_correlation_id_that_is_no_uuid_is_a_hash(kept: tuple[Site, AuditWriter]) -> None:
    site, audit = kept
    client = site.browser()
    given = site.authorized(client)
    opened = client.get(
        "/app/callback/clinic", query_string=given, base_url=site.base, headers={"X-Correlation-Id": "patient-1032702"}
    )
    assert opened.status_code == 200
    audit.close()
    assert "patient-1032702" not in json.dumps(rows(audit.engine, "audit_pages"))


def test_what_was_read_is_handed_on_with_the_answers_and_its_step_is_kept(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    assert "features" not in site.open().buttons()
    assert site.open().send("features").response.mimetype == "text/html"
    (tmp_path / "audit").mkdir(mode=0o700)
    settings = replace(site.settings, audit=tmp_path / "audit", features="on", log_key="0123456789abcdef")
    audit = open_audit(settings)
    assert audit is not None
    site.app = create_app(settings, clock=site.time, audit=audit)
    page = site.open().press("set:right/pop-at-injury=yes")
    response = page.press("features").response
    audit.close()
    assert response.mimetype == "application/fhir+json"
    assert response.headers["Content-Disposition"] == "attachment; filename=case-features.json"
    _patient, marker, *read = (entry["resource"] for entry in response.get_json()["entry"])
    assert marker["code"]["coding"][0]["code"] == "features-read"
    (pop,) = (each for each in read if each["code"]["coding"][0]["code"] == "pop-at-injury")
    assert (pop["valueBoolean"], pop["bodySite"]["coding"][0]["code"]) == (True, "right")
    assert "derivedFrom" not in pop, "the answers are no resource of the chart yet"
    steps = sorted(rows(audit.engine, "audit_pages"), key=lambda row: row["at"])
    assert [(row["step"], row["answers"]) for row in steps] == [("shown", 0), ("answered", 1), ("features", 1)]
