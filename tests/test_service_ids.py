"""One id for one entry of discovery, and the ids of before: answered for one release, recorded under those of today."""

import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from flask.testing import FlaskClient
from sqlalchemy import URL

from cds_hooks.trust.signing import key_set, new_key
from service.access.clients import read_clients
from service.app import create_app
from service.audit import database
from service.audit.database import make_engine, open_database
from service.service_ids import FORMER_IDS
from service.settings import Settings
from tests.charts import CLOCK, HOOKS, Json, build_request
from tests.recording import rows

FEEDBACK = {
    "feedback": [
        {
            "card": "60d64faf-2557-5ad5-bf67-cd6252d56616",
            "outcome": "overridden",
            "outcomeTimestamp": "2026-11-22T10:05:31Z",
        }
    ]
}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def request_of(service: str) -> Json:
    chart: Json = {"age": 45, "present": ["buttock-pain", "saddle-numbness"], "service": service}
    given: Json = {
        "order-sign": {"drafts": [{"id": "o1", "order": "loinc|30679-5"}, {"id": "m1", "medicine": "rxnorm|5640"}]},
        "appointment-book": {"appointments": [{"in_days": 30}]},
    }
    return build_request(chart | given.get(HOOKS[service], {}))


def test_discovery_has_each_id_once_and_no_former_one(client: FlaskClient) -> None:
    entries = client.get("/cds-services").get_json()["services"]
    assert {entry["id"]: entry["hook"] for entry in entries} == HOOKS
    assert len(entries) == len(HOOKS)


@pytest.mark.parametrize(("current", "former"), FORMER_IDS.items())
def test_a_former_id_is_answered_on_its_hook_and_takes_feedback(current: str, former: str, client: FlaskClient) -> None:
    answers = [client.post(f"/cds-services/{id_}", json=request_of(current)) for id_ in (current, former)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].data == answers[1].data
    assert answers[0].get_json()["cards"]
    assert client.post(f"/cds-services/{former}/feedback", json=FEEDBACK).status_code == 200


def test_a_former_id_is_answered_on_no_other_hook(client: FlaskClient) -> None:
    refused = client.post("/cds-services/visit-planning", json=request_of("discharge-advice"))
    assert refused.status_code == 400


def test_an_entry_of_a_client_with_a_former_id_is_good_for_the_ids_of_today(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(new_key("ES384", "mine"))))
    file = tmp_path / "clients.toml"
    file.write_text(
        '[clients.a]\nissuers = ["https://a.example.org"]\njwks_file = "jwks.json"\n'
        'services = ["imaging-referral", "visit-planning"]\n'
    )
    permitted = read_clients(file, HOOKS)["a"].trusted.services
    assert permitted == ("imaging-referral", "imaging-referral-sign", "visit-planning", "appointment-timing")


@pytest.mark.parametrize("former", [*FORMER_IDS.values()])
def test_a_call_of_a_former_id_is_recorded_under_the_id_of_today(former: str) -> None:
    told = create_app(clock=lambda: CLOCK)
    current = next(new for new, old in FORMER_IDS.items() if old == former)
    told.test_client().post(f"/cds-services/{former}", json=request_of(current))
    calls = told.test_client().get("/metrics").get_data(as_text=True)
    assert f'service="{current}"' in calls


_CALL = (
    "INSERT INTO record_calls (id, at, correlation, client, service, hook, status, knowledge, states, fired, took,"
    " cards) VALUES (?, 1, 'c', 'a', ?, ?, 200, 'k', '{}', '{}', '{}', 1)"
)
_CARD = (
    "INSERT INTO record_cards (call, uuid, at, client, patient, service, knowledge, topic, indicator, red_flag,"
    " recommendation, version, recommendations, suggestions)"
    " VALUES (?, ?, 1, 'a', 'p', ?, 'k', 't', 'info', 0, 'r', 1, '[]', '[]')"
)
_FEEDBACK = (
    "INSERT INTO record_feedback (id, at, place, correlation, client, service, card, outcome, outcome_at, suggestions,"
    " reasons, commented, times) VALUES (?, 1, 0, 'c', 'a', ?, ?, 'accepted', 1, '[]', '[]', 0, 1)"
)


def test_what_was_recorded_under_a_former_id_is_counted_with_what_comes_now(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = make_engine(URL.create("sqlite", database=str(tmp_path / "record.sqlite")))
    before = [(former, HOOKS[current]) for current, former in FORMER_IDS.items()]
    # Of the ids of before, these are still those of a service.
    before += [(former, HOOKS[former]) for former in FORMER_IDS.values() if former in HOOKS]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number, (id_, hook) in enumerate(before):
            connection.exec_driver_sql(_CALL, (str(number), id_, hook))
            connection.exec_driver_sql(_CARD, (str(number), f"card {number}", id_))
            connection.exec_driver_sql(_FEEDBACK, (str(number), id_, f"card {number}"))
    engine.dispose()
    (tmp_path / "record.sqlite").chmod(0o600)
    opened = open_database(Settings(audit=tmp_path))
    for table in ("audit_calls", "audit_cards", "audit_feedback"):
        assert [row["service"] for row in rows(opened, table)] == [
            *FORMER_IDS,
            *(former for former in FORMER_IDS.values() if former in HOOKS),
        ], table
    opened.dispose()
