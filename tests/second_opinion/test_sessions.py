"""What a page needs of the next one lies in it: any worker opens it, a restart loses nothing, keys can change, and
nothing of a patient is left behind."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.app import create_app
from service.audit import open_audit
from service.second_opinion.view import View
from service.server.log import JsonLines
from service.server.tracing import Tracing
from tests.second_opinion.conftest import KEY, MakeSite, Page, Site
from tests.second_opinion.ehr import LAUNCH

ANOTHER = Fernet.generate_key().decode()


def at(site: Site, page: Page, *keys: str) -> Page:
    """The same page in the same browser, at a service that was started anew, with these keys."""
    app = create_app(replace(site.settings, app_keys=keys or site.settings.app_keys), clock=site.time)
    elsewhere = replace(site, app=app)
    client: FlaskClient = elsewhere.browser()
    cookie = page.client.get_cookie("__Host-app", domain="cds.example.org", path="/")
    assert cookie is not None
    client.set_cookie("__Host-app", cookie.value, domain="cds.example.org", secure=True)
    return Page(page.response, elsewhere, client)


def test_posts_in_turn_to_two_workers_and_a_restart_between_them_lose_nothing(make_site: MakeSite) -> None:
    site = make_site(write=["QuestionnaireResponse"])
    page = site.open()
    for finding in ("pop-at-injury", "sudden-onset", "sharp-pain"):
        page = at(site, page).press(f"set:right/{finding}=yes")
        assert page.status == 200
    assert 'class="card critical"' in page.html
    assert "Saved in the chart: QuestionnaireResponse/new-1." in at(site, page).press("save").text
    [form] = site.ehr.saved("QuestionnaireResponse")
    assert len(form["item"]) == 3


def test_a_launch_at_one_worker_comes_back_to_another(site: Site) -> None:
    client = site.browser()
    given = site.authorized(client)
    other = at(site, site.called_back(client, {}))
    assert site.called_back(other.client, given).status == 200


def test_after_a_new_key_old_pages_live_until_their_own_is_taken_away(site: Site) -> None:
    page = site.open().press("set:right/pop-at-injury=yes")
    assert at(site, page, ANOTHER, KEY).press("set:right/sharp-pain=yes").status == 200
    ended = at(site, page, ANOTHER).press("set:right/sharp-pain=yes")
    assert (ended.status, "Session ended" in ended.text) == (401, True)
    assert "Snap or pop at the injury (right): yes" in ended.text


def test_what_a_page_holds_cannot_be_read_or_changed_without_the_key(site: Site) -> None:
    page = site.open()
    token = next(iter(site.ehr.tokens))
    assert token not in page.html
    assert "refresh-" not in page.html
    session = page.hidden()["session"]
    for changed in (session[:-2], session[:40] + "A" + session[41:], ""):
        assert page.send("enough", session=changed).status == 401


def test_nothing_of_a_session_is_in_a_trace_a_metric_the_audit_trail_or_the_log_of_a_fault(
    make_site: MakeSite, log: StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(write=["QuestionnaireResponse"])
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    (tmp_path / "audit").mkdir(mode=0o700)
    settings = replace(site.settings, audit=tmp_path / "audit", metrics_token="of-the-monitor-0123456789")  # noqa: S106
    audit = open_audit(settings)
    assert audit is not None
    site.app = create_app(settings, clock=site.time, audit=audit, tracing=Tracing(lambda: provider))
    page = site.open().press("set:right/pop-at-injury=yes").press("save")

    def fails(*_: object) -> None:
        # What an error says may hold what it is about.
        raise ValueError("Pat Sample, 1032702, pop-at-injury")

    monkeypatch.setattr(View, "_timeline", fails)
    broken = page.press("enough")
    assert broken.status == 500
    audit.close()
    metrics = page.client.get("/metrics", headers={"Authorization": "Bearer of-the-monitor-0123456789"})
    assert metrics.status_code == 200
    left = [broken.html, log.getvalue(), metrics.get_data(as_text=True)]
    left += [span.to_json() for span in exporter.get_finished_spans()]
    left += [file.read_bytes().decode("latin-1") for file in (tmp_path / "audit").iterdir()]
    assert "ValueError" in log.getvalue()
    secrets = ["Sample", "1032702", "1984-10-20", "pop-at-injury", "Practitioner/4451", LAUNCH, *site.ehr.tokens]
    secrets += [page.hidden()["session"], *site.ehr.refresh_tokens, site.ehr.authorizations[0]["state"][0]]
    assert [secret for secret in secrets for text in left if secret in text] == []


@pytest.fixture
def log() -> Iterator[StringIO]:
    """All that the service and what it uses say, at any level, as it is written."""
    stream, root = StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    handler.setFormatter(JsonLines())
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def test_nothing_of_a_session_is_in_the_log_or_in_a_database(
    make_site: MakeSite, log: StringIO, tmp_path: Path
) -> None:
    site = make_site(write=["QuestionnaireResponse", "Observation"])
    client = site.browser()
    given = site.authorized(client)
    page = site.called_back(client, given)
    page = page.press("set:right/pop-at-injury=yes")
    page = page.send("set", **{"value:right/onset-date": "2026-11-20"})
    sealed = page.hidden()["session"]
    site.ehr.faults.answers[("POST", "QuestionnaireResponse")] = [500]
    page = page.press("save").press("save").press("next").press("done")
    site.called_back(client, given)
    site.ehr.faults.denies = True
    site.called_back(client, site.authorized(client))
    left = log.getvalue().encode() + b"".join(file.read_bytes() for file in tmp_path.rglob("store.sqlite*"))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    steps = [line.get("step") for line in lines if line.get("event") == "second opinion"]
    assert {"launch", "opened", "not saved", "saved", "done", "used-state", "denied"} <= {*steps}
    state = site.ehr.authorizations[0]
    secrets = [
        *site.ehr.revoked,
        *(token for one in site.ehr.token_requests for token in one.values() if len(token) > 20),
        given["code"],
        given["state"],
        state["nonce"][0],
        state["code_challenge"][0],
        sealed,
        LAUNCH,
        "Sample",
        "1032702",
        "1984-10-20",
        "pop-at-injury",
        "2026-11-20",
        "Practitioner/4451",
    ]
    found = [secret for secret in secrets if secret.encode() in left]
    assert found == []
    assert len(secrets) > 15
