"""What a monitoring system reads, who may read it, and the dashboard and the alerts that are built on it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.audit.writer import Health
from service.server import metrics
from service.server.metrics import Metrics
from service.settings import Settings
from tests.charts import CLOCK, named_cases
from tests.recording import KEY as TOKEN
from tests.serving import PATH, running, service_at, workers_at

CLIENTS = '[clients.ehr]\nissuers = ["https://ehr.example.org"]\njwks_file = "keys.json"\n'


def request(fixture: str = "sudden-tear") -> dict[str, Any]:
    return next(case for case in named_cases() if case.fixture == fixture).request()


def read(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(text: str, name: str, **labels: str) -> float:
    return sum(value for found, value in read(text).get(name, ()) if labels.items() <= found.items())


def metrics_of(client: FlaskClient) -> str:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


@pytest.fixture
def client() -> FlaskClient:
    return create_app(Settings(), clock=lambda: CLOCK).test_client()


def test_a_call_is_counted_with_its_stages_states_rules_and_cards(client: FlaskClient) -> None:
    body = client.post(PATH, json=request()).get_json()
    text = metrics_of(client)
    of_call = {"service": "gluteal-hamstring-pain", "hook": "patient-view", "status": "200", "client": ""}
    assert total(text, "sitbone_calls_total", **of_call) == 1
    for stage in ("read", "fetch", "answer", "send"):
        assert total(text, "sitbone_stage_seconds_count", stage=stage) == 1, stage
    assert total(text, "sitbone_data_states_total", key="observations", state="supplied") == 1
    on_cards = {
        each["id"] for card in body["cards"] for each in card["extension"]["org.sitbone.basis"]["recommendations"]
    }
    assert on_cards
    assert all(total(text, "sitbone_rules_fired_total", rule=rule) == 1 for rule in on_cards)
    assert total(text, "sitbone_cards_total", indicator="critical") == sum(
        card["indicator"] == "critical" for card in body["cards"]
    )
    assert total(text, "sitbone_calls_without_card_total") == 0


def test_a_call_that_gets_no_card_is_counted_as_such(client: FlaskClient) -> None:
    assert client.post(PATH, json=request("hip-pain-alone")).get_json()["cards"] == []
    assert total(metrics_of(client), "sitbone_calls_without_card_total", service="gluteal-hamstring-pain") == 1


def test_every_response_is_counted_by_the_pattern_of_its_path_and_never_by_what_was_asked_for(
    client: FlaskClient,
) -> None:
    client.get("/patients/secret-name")
    client.post("/cds-services/secret-name", json={})
    client.post(PATH, data=b"{", content_type="application/json")
    text = metrics_of(client)
    assert total(text, "sitbone_responses_total", route="none", status="404") == 1
    assert total(text, "sitbone_responses_total", route="/cds-services/<service_id>", status="404") == 1
    assert total(text, "sitbone_responses_total", route="/cds-services/<service_id>", status="400") == 1
    assert total(text, "sitbone_response_seconds_count", route="/cds-services/<service_id>") == 2
    assert "secret-name" not in text


def test_no_label_holds_anything_of_the_chart_or_of_the_caller(client: FlaskClient) -> None:
    sent = request()
    client.post(PATH, json=sent, headers={"X-Correlation-Id": "of-the-caller"})
    text = metrics_of(client)
    known = {
        "client",
        "hook",
        "indicator",
        "key",
        "le",
        "mode",
        "outcome",
        "route",
        "rule",
        "service",
        "stage",
        "state",
        "status",
    }
    assert {name for samples in read(text).values() for labels, _value in samples for name in labels} <= known
    for secret in (sent["context"]["patientId"], sent["hookInstance"], "of-the-caller"):
        assert secret not in text


def test_calls_in_hand_are_those_that_are_not_answered_yet(client: FlaskClient) -> None:
    client.get("/cds-services")
    assert total(metrics_of(client), "sitbone_calls_in_flight") == 0
    metrics = client.application.extensions["metrics"]
    metrics.take(2)
    assert total(metrics_of(client), "sitbone_calls_in_flight") == 2


def test_what_the_record_has_lost_is_counted_once_and_its_queue_is_told() -> None:
    fares = [Health(7, 3, 0, None), Health(1, 5, 0, None)]
    metrics = Metrics({}, lambda: fares.pop(0))
    assert total(metrics.text().decode(), "sitbone_audit_queued") == 7
    text = metrics.text().decode()
    assert (total(text, "sitbone_audit_queued"), total(text, "sitbone_audit_dropped_total")) == (1, 5)


def test_the_keys_of_a_client_have_the_time_when_they_were_loaded() -> None:
    metrics = Metrics({"ehr": lambda: 40.0, "another": lambda: None}, clock=lambda: 1_000.0)
    assert read(metrics.text().decode())["sitbone_keys_loaded_timestamp_seconds"] == [({"client": "ehr"}, 960.0)]


def test_times_that_are_counted_together_are_those_that_are_counted_one_by_one() -> None:
    together, apart = Metrics({}), Metrics({})
    for seconds in (0.0, 0.001, 0.0011, 0.005, 0.3, 5, 7, 0.001):
        for counted in (together, apart):
            counted.response("/", 200, seconds)
        apart.text()
    of = [read(each.text().decode()) for each in (together, apart)]
    for name in ("bucket", "count", "sum"):
        found = [one[f"sitbone_response_seconds_{name}"] for one in of]
        assert [labels for labels, _value in found[0]] == [labels for labels, _value in found[1]]
        assert [value for _labels, value in found[0]] == pytest.approx([value for _labels, value in found[1]])


def test_counts_do_not_wait_without_end_where_nobody_reads_them() -> None:
    metrics = Metrics({})
    for _ in range(2_500):
        metrics.response("/", 200, 0.001)
    assert len(metrics._waiting) < 2_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [({}, 401), ({"Authorization": "Bearer another"}, 401), ({"Authorization": f"Bearer {TOKEN}"}, 200)],
)
def test_with_a_token_only_who_sends_it_reads_the_metrics(sent: dict[str, str], status: int) -> None:
    client = create_app(Settings(metrics_token=TOKEN)).test_client()
    assert client.get("/metrics", headers=sent).status_code == status


@pytest.mark.parametrize(("token", "status"), [(None, 404), (TOKEN, 401)])
def test_where_callers_need_a_token_there_are_no_metrics_without_one(
    token: str | None, status: int, tmp_path: Path
) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(key_set(new_key())), "utf-8")
    (clients := tmp_path / "clients.toml").write_text(CLIENTS, "utf-8")
    app = create_app(Settings(draft="show", clients=clients, store=tmp_path / "store", metrics_token=token))
    assert app.test_client().get("/metrics").status_code == status


def test_pages_of_other_origins_do_not_get_to_read_them(client: FlaskClient) -> None:
    assert "Access-Control-Allow-Origin" not in client.get("/metrics").headers
    assert client.get("/cds-services").headers["Access-Control-Allow-Origin"] == "*"


def test_they_are_answered_while_all_hands_are_full() -> None:
    seen, looks = list[tuple[int, float]](), list[bool]()

    def look() -> tuple[int, float]:
        other = apps[0].test_client()
        return other.get("/knowledge").status_code, total(metrics_of(other), "sitbone_calls_in_flight")

    def clock() -> datetime:
        # Metrics and pages ask for the time too.
        if apps and not looks:
            looks.append(True)
            # In a thread, as in one there is one request at a time.
            with ThreadPoolExecutor(1) as another:
                seen.append(another.submit(look).result())
        return CLOCK

    apps: list[Flask] = []
    apps.append(create_app(Settings(max_in_flight=1), clock))
    apps[0].test_client().post(PATH, json=request())
    assert seen[0] == (503, 1)


def folders() -> set[Path]:
    """Where processes count together, of whatever service there is."""
    return {path for parent in ("/dev/shm", "/tmp") for path in Path(parent).glob("sitbone-metrics-*")}


def counting_in(folder: Path) -> set[int]:
    """The processes that have counted there: each file is named by one."""
    return {int(path.stem.rpartition("_")[2]) for path in folder.glob("*.db")}


def abandoned(before: set[Path]) -> set[Path]:
    """New folders of nobody that lives; those of a service that another test has just started, or stops, are not."""
    return {
        folder for folder in folders() - before if not any(Path(f"/proc/{p}").exists() for p in counting_in(folder))
    }


FORKED = """
import os
from service.server import metrics

metrics.share()
made = metrics.Metrics({})
child = os.fork()
if not child:
    made.response("/", 200, 0.1)
    made.take(1)
    made.close()
    os._exit(0)
os.waitpid(child, 0)
print(made.text().decode())
print("---")
metrics.forget(child)
print(made.text().decode())
"""


def test_of_a_worker_that_died_what_it_counted_stays_and_what_it_had_in_hand_does_not(repository: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FORKED], cwd=repository, check=True, capture_output=True, text=True)
    before, after = told.stdout.split("---")
    assert [total(text, "sitbone_responses_total") for text in (before, after)] == [1, 1]
    assert [total(text, "sitbone_calls_in_flight") for text in (before, after)] == [1, 0]


def test_they_are_read_while_a_worker_is_just_making_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    made = Metrics({})
    (beginning := tmp_path / "gauge_livemax_1.db").touch()
    monkeypatch.setattr("time.sleep", lambda _seconds: beginning.unlink())
    assert made.text() == b""
    assert not beginning.exists()


def test_workers_count_together_and_leave_nothing_behind(repository: Path) -> None:
    before = folders()
    body = (repository / "fixtures/requests/sudden-tear.json").read_bytes()

    def fetch(url: str, data: bytes | None = None) -> str:
        sent = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return str(answer.read().decode())

    def settled(base: str, calls: int) -> str:
        """The metrics, once another worker's last calls are among them."""
        end = time.monotonic() + 5
        while total(text := fetch(f"{base}/metrics"), "sitbone_calls_total") < calls:
            assert time.monotonic() < end
            time.sleep(0.1)
        return text

    with running(repository, SITBONE_KEEP_ALIVE="0", SITBONE_AUDIT="off") as (base, _stop):
        for _ in range(20):
            fetch(base + PATH, body)
        text = settled(base, 20)
        assert total(text, "sitbone_stage_seconds_count", stage="answer") == 20
        assert total(text, "sitbone_calls_in_flight") <= 1
        ours = {service_at(base), *workers_at(base)}
        (made,) = (folder for folder in folders() - before if counting_in(folder) & ours)
        assert counting_in(made) <= ours
    assert not made.exists()
    end = time.monotonic() + 10
    while left := abandoned(before):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def exported() -> set[str]:
    """The names of all samples that there can be, as they stand in the text."""
    text = create_app().test_client().get("/metrics").get_data(as_text=True)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {f"{name}{part}" for name, kind in kinds.items() for part in parts.get(kind, ("",))}


def expressions(repository: Path) -> list[str]:
    rules = yaml.safe_load((repository / "deploy/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    panels = json.loads((repository / "deploy/grafana-dashboard.json").read_text("utf-8"))["panels"]
    return [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_metric_that_the_dashboard_and_the_alerts_name_is_exported(repository: Path) -> None:
    named = {name for expression in expressions(repository) for name in re.findall(r"sitbone_\w+", expression)}
    assert named
    assert named <= exported()


def test_every_label_that_they_name_is_one_of_its_metric(repository: Path, client: FlaskClient) -> None:
    client.post(PATH, json=request())
    labels = {name: set(samples[0][0]) for name, samples in read(metrics_of(client)).items()}
    for expression in expressions(repository):
        for name, matchers in re.findall(r"(sitbone_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)[=!]", matchers)) <= labels[name], expression


CALLED = {'up{job="sitbone"}': "1x180", 'sitbone_calls_total{client="a",status="200"}': "0+1x180"}
OF_CALLS = 'route="/cds-services/<service_id>"'
# Series from the start on, minute by minute, and the alerts that stand after three hours.
WATCHED: dict[str, tuple[dict[str, str], set[str]]] = {
    "called": (
        CALLED,
        set(),
    ),
    "never called": ({'up{job="sitbone"}': "1x180", "sitbone_calls_in_flight": "0x180"}, {"SitboneNoCalls"}),
    "no longer called": (
        {'up{job="sitbone"}': "1x180", 'sitbone_calls_total{client="a",status="200"}': "0+1x30 30x150"},
        {"SitboneNoCalls"},
    ),
    "one host of two away": (
        {
            'up{job="sitbone",instance="one"}': "1x180",
            'up{job="sitbone",instance="other"}': "1x60 0x120",
            'sitbone_calls_in_flight{instance="one"}': "0x180",
            'sitbone_calls_total{client="a",status="200",instance="one"}': "0+1x180",
        },
        {"SitboneNotThere"},
    ),
    "one of two workers has read that something is suspended": (
        {
            **CALLED,
            "sitbone_suspended": "0x100 1x80",
        },
        {"SitboneSuspended"},
    ),
    "a reload was refused": (
        {
            **CALLED,
            "sitbone_reloads_refused_total": "0x150 1x30",
        },
        {"SitboneReloadRefused"},
    ),
    "a reload was refused long ago": (
        {
            **CALLED,
            "sitbone_reloads_refused_total": "0x10 1x170",
        },
        set(),
    ),
    "what was suspended is resumed": (
        {
            **CALLED,
            "sitbone_suspended": "1x100 0x80",
        },
        set(),
    ),
    "one of the signed recommendations was edited": (
        {
            **CALLED,
            'sitbone_recommendations{state="active"}': "200x100 199x80",
            'sitbone_recommendations{state="draft"}': "0x100 1x80",
        },
        {"SitboneUnsigned"},
    ),
    "all of it is a draft from the beginning": (
        {
            **CALLED,
            'sitbone_recommendations{state="active"}': "0x180",
            'sitbone_recommendations{state="draft"}': "200x180",
            "sitbone_review_by_timestamp_seconds": "0x180",
        },
        set(),
    ),
    "a review is overdue": (
        {
            **CALLED,
            'sitbone_recommendations{state="review-overdue"}': "0x100 3x80",
            'sitbone_recommendations{state="draft"}': "0x180",
            "sitbone_review_by_timestamp_seconds": "9000000x180",
        },
        {"SitboneReviewOverdue"},
    ),
    "a review is due within sixty days": (
        {
            **CALLED,
            'sitbone_recommendations{state="active"}': "200x180",
            'sitbone_recommendations{state="draft"}': "0x180",
            "sitbone_review_by_timestamp_seconds": "5000000x180",
        },
        {"SitboneReviewDue"},
    ),
    "the canary is well, and looks once an hour": (
        {
            **CALLED,
            "sitbone_canary_differs": "0x180",
            "sitbone_canary_timestamp_seconds": "0x60 3600x60 7200x60",
        },
        set(),
    ),
    "one worker decides a published request otherwise in the last of its rounds": (
        {
            **CALLED,
            "sitbone_canary_differs": "0x120 1x60",
            "sitbone_canary_timestamp_seconds": "0x60 3600x60 7200x60",
        },
        {"SitboneCanary"},
    ),
    "nobody looked at the canary for two hours": (
        {**CALLED, "sitbone_canary_differs": "0x180", "sitbone_canary_timestamp_seconds": "0x180"},
        {"SitboneCanary"},
    ),
    "a recommendation fires as expected": (
        {
            **CALLED,
            'sitbone_fired_share_low{client="a",rule="r"}': "0.02x180",
            'sitbone_fired_share_high{client="a",rule="r"}': "0.09x180",
            'sitbone_expected_share_low{client="a",rule="r"}': "0.018x180",
            'sitbone_expected_share_high{client="a",rule="r"}': "0.06x180",
        },
        set(),
    ),
    "a recommendation fires at fewer calls than expected": (
        {
            **CALLED,
            'sitbone_fired_share_low{client="a",rule="r"}': "0.001x180",
            'sitbone_fired_share_high{client="a",rule="r"}': "0.015x180",
            'sitbone_expected_share_low{client="a",rule="r"}': "0.018x180",
            'sitbone_expected_share_high{client="a",rule="r"}': "0.06x180",
        },
        {"SitboneFiringLow"},
    ),
    "a recommendation fires at more calls than expected": (
        {
            **CALLED,
            'sitbone_fired_share_low{client="a",rule="r"}': "0.3x180",
            'sitbone_fired_share_high{client="a",rule="r"}': "0.5x180",
            'sitbone_expected_share_low{client="a",rule="r"}': "0.018x180",
            'sitbone_expected_share_high{client="a",rule="r"}': "0.06x180",
        },
        {"SitboneFiringHigh"},
    ),
    "a red flag stays away for as long as it may": (
        {
            **CALLED,
            'sitbone_flag_absent_days{client="a",rule="r"}': "43x180",
            'sitbone_flag_absent_limit_days{client="a",rule="r"}': "43x180",
        },
        set(),
    ),
    "a red flag stays away for longer than chance explains": (
        {
            **CALLED,
            'sitbone_flag_absent_days{client="a",rule="r"}': "44x180",
            'sitbone_flag_absent_limit_days{client="a",rule="r"}': "43x180",
        },
        {"SitboneFlagAbsent"},
    ),
    "a finding comes as rarely as it did": (
        {
            **CALLED,
            'sitbone_finding_silent_days{client="a",finding="f"}': "3x180",
            'sitbone_finding_silent_limit_days{client="a",finding="f"}': "3x180",
        },
        set(),
    ),
    "a finding does not come any more": (
        {
            **CALLED,
            'sitbone_finding_silent_days{client="a",finding="f"}': "4x180",
            'sitbone_finding_silent_limit_days{client="a",finding="f"}': "3x180",
        },
        {"SitboneCodeStopped"},
    ),
    "little cannot be read although it is more than usual": (
        {
            **CALLED,
            'sitbone_unread_share{client="a",what="unreadable"}': "0.02x180",
            'sitbone_unread_baseline{client="a",what="unreadable"}': "0.001x180",
        },
        set(),
    ),
    "much cannot be read as always": (
        {
            **CALLED,
            'sitbone_unread_share{client="a",what="unreadable"}': "0.3x180",
            'sitbone_unread_baseline{client="a",what="unreadable"}': "0.2x180",
        },
        set(),
    ),
    "more cannot be read than usual": (
        {
            **CALLED,
            'sitbone_unread_share{client="a",what="unreadable"}': "0.05x180",
            'sitbone_unread_baseline{client="a",what="unreadable"}': "0.02x180",
        },
        {"SitboneUnreadable"},
    ),
    "few say that a recommendation is wrong": (
        {
            **CALLED,
            'sitbone_disagreed_low{rule="r"}': "0.2x180",
        },
        set(),
    ),
    "clinicians say that a recommendation is wrong": (
        {
            **CALLED,
            'sitbone_disagreed_low{rule="r"}': "0.21x180",
        },
        {"SitboneDisagreed"},
    ),
    "a client reports outcomes": (
        {
            **CALLED,
            'sitbone_feedback_stopped{client="a"}': "0x180",
        },
        set(),
    ),
    "a client that reported outcomes reports none": (
        {
            **CALLED,
            'sitbone_feedback_stopped{client="a"}': "1x180",
        },
        {"SitboneFeedbackStopped"},
    ),
    "one response of two hundred fails": (
        {
            **CALLED,
            'sitbone_responses_total{status="200"}': "0+199x180",
            'sitbone_responses_total{status="500"}': "0+1x180",
        },
        set(),
    ),
    "one response of fifty fails": (
        {
            **CALLED,
            'sitbone_responses_total{status="200"}': "0+49x180",
            'sitbone_responses_total{status="503"}': "0+1x180",
        },
        {"SitboneErrors"},
    ),
    "one call of two hundred takes longer than half a second": (
        {
            **CALLED,
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="0.25"}}': "0+180x180",
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="0.5"}}': "0+199x180",
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="+Inf"}}': "0+200x180",
        },
        set(),
    ),
    "one call of fifty takes longer than half a second": (
        {
            **CALLED,
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="0.5"}}': "0+49x180",
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="1.0"}}': "0+50x180",
            f'sitbone_response_seconds_bucket{{{OF_CALLS},le="+Inf"}}': "0+50x180",
        },
        {"SitboneSlow"},
    ),
    "a tenth of the calls of a client lack a key": (
        {
            **CALLED,
            'sitbone_data_states_total{client="a",key="conditions",state="supplied"}': "0+9x180",
            'sitbone_data_states_total{client="a",key="conditions",state="failed"}': "0+1x180",
        },
        set(),
    ),
    "half of the calls of a client lack a key": (
        {
            **CALLED,
            'sitbone_data_states_total{client="a",key="conditions",state="supplied"}': "0+1x180",
            'sitbone_data_states_total{client="a",key="conditions",state="missing"}': "0+1x180",
        },
        {"SitboneDataNotComing"},
    ),
    "calls wait to be kept, and all are": (
        {**CALLED, "sitbone_audit_queued": "1000x180", "sitbone_audit_dropped_total": "7x180"},
        set(),
    ),
    "calls are lost to the audit trail": (
        {**CALLED, "sitbone_audit_queued": "0x180", "sitbone_audit_dropped_total": "0x170 1x10"},
        {"SitboneAuditDropped"},
    ),
    "the audit trail falls behind": (
        {**CALLED, "sitbone_audit_queued": "1001x180", "sitbone_audit_dropped_total": "0x180"},
        {"SitboneAuditWaiting"},
    ),
    "the keys of a client were loaded within two hours": (
        {**CALLED, 'sitbone_keys_loaded_timestamp_seconds{client="a"}': "0x120 7200x60"},
        set(),
    ),
    "the keys of a client that calls were not loaded for three hours": (
        {**CALLED, 'sitbone_keys_loaded_timestamp_seconds{client="a"}': "0x180"},
        {"SitboneKeysOld"},
    ),
    "the keys of a client that does not call were not loaded for three hours": (
        {**CALLED, 'sitbone_keys_loaded_timestamp_seconds{client="b"}': "0x180"},
        set(),
    ),
    "nothing to read": ({'up{job="other"}': "1x180"}, {"SitboneNoCalls", "SitboneNotThere"}),
}


def test_the_alerts_of_what_is_missing_do_not_wait_for_a_series(repository: Path) -> None:
    rules = yaml.safe_load((repository / "deploy/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    said = {rule["alert"]: rule["expr"] for rule in rules}
    assert re.fullmatch(r"\(sum\(increase\(sitbone_calls_total\[1h]\)\) or vector\(0\)\) == 0", said["SitboneNoCalls"])
    [job] = re.findall(r"job_name: (\w+)", (repository / "docs/watching.md").read_text("utf-8"))
    assert said["SitboneNotThere"] == f'up{{job="{job}"}} == 0 or absent(up{{job="{job}"}})'


def test_each_alert_is_tried_with_what_raises_it_and_with_what_does_not(repository: Path) -> None:
    rules = yaml.safe_load((repository / "deploy/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    for rule in rules:
        alert, read = rule["alert"], set(re.findall(r"\b(sitbone_\w+|up)\b", rule["expr"]))
        assert any(alert in standing for _series, standing in WATCHED.values()), alert
        # Quiet with all that it reads, and not for want of it.
        quiet = [series for series, standing in WATCHED.values() if alert not in standing]
        assert any(read <= {name.partition("{")[0] for name in series} for series in quiet), alert


@pytest.mark.needs_system("promtool", "Prometheus itself says when an alert is raised")
def test_prometheus_raises_them_when_they_matter_and_not_otherwise(repository: Path, tmp_path: Path) -> None:
    test = {
        "rule_files": [str(repository / "deploy/alerts.yaml")],
        # As good as each minute: what stands there stands for longer, and at the end of five.
        "evaluation_interval": "5m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": each, "values": values} for each, values in series.items()],
                "promql_expr_test": [
                    {
                        # Its name stands behind it, as it says what is wrong by this.
                        "expr": f'count by (alertname) (ALERTS{{alertstate="firing"}}) # {name}',
                        "eval_time": "3h",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in standing],
                    }
                ],
            }
            for name, (series, standing) in WATCHED.items()
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), "utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yaml"],
        env=os.environ | {"GOGC": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_place_in_the_guide(repository: Path) -> None:
    rules = yaml.safe_load((repository / "deploy/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    guide = (repository / "docs/watching.md").read_text("utf-8")
    assert [rule["alert"] for rule in rules] == re.findall(r"^\| `(Sitbone\w+)` \|", guide, re.MULTILINE)


def test_the_guide_names_every_metric(repository: Path) -> None:
    guide = (repository / "docs/watching.md").read_text("utf-8")
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported() if not name.endswith("_created")}
    assert families == set(re.findall(r"^\| `(sitbone_\w+)` \|", guide, re.MULTILINE))


def test_what_a_killed_service_left_in_memory_is_removed_at_the_next_start_and_nothing_else(tmp_path: Path) -> None:
    code = f"""
import os, time
from service.server import metrics
metrics._MEMORY = {str(tmp_path)!r}
metrics.share()
print(os.environ["PROMETHEUS_MULTIPROC_DIR"], flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        folder = Path(service.stdout.readline().strip())
        os.utime(folder, (1, 1))
        metrics._remove_what_was_left(tmp_path)
        assert folder.is_dir()
        service.kill()
        service.wait(10)
    young, other = tmp_path / "sitbone-metrics-young", tmp_path / "other"
    young.mkdir()
    other.mkdir()
    os.utime(other, (1, 1))
    metrics._remove_what_was_left(tmp_path)
    assert sorted(tmp_path.iterdir()) == [other, young]
