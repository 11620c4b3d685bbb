"""The audit trail: what is kept of calls and feedback, in SQLite and on PostgreSQL, and what never is."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Engine, make_url, text
from sqlalchemy.event import listen

from cds_hooks import CallRecord, ServiceUnavailable
from service import database as connecting
from service.access.store import open_store
from service.audit import database, writer
from service.audit.database import form_of, open_database
from service.audit.rows import CallRows
from service.audit.schema import HEAD, METADATA, RELEASES, VERSION_TABLE
from service.audit.suppression import Suppression
from service.audit.writer import AuditWriter, open_audit
from service.cli import main
from service.pseudonyms import Pseudonyms
from service.settings import Settings, SettingsError
from tests.recording import FIXTURES, KEY, PATH, Clock, Site, environ, rows

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql", "tests.audit_fixtures"]

# Members whose values belong to the protocol and not to a patient.
_PROTOCOL = {"resourceType", "system", "status", "hook", "type", "token_type", "mode", "unit", "linkId", "intent"}
_TELLING = 8


def values_of(node: Any) -> set[str]:
    """Every longer text that a request holds about its patient."""
    if isinstance(node, dict):
        return {text for name, value in node.items() if name not in _PROTOCOL for text in values_of(value)}
    if isinstance(node, list):
        return {text for value in node for text in values_of(value)}
    return {node} if isinstance(node, str) and len(node) >= _TELLING else set()


# Ids of recommendations, and of the findings that are counted of a day, which are words of medicine.
_OWN = {"fired", "recommendation", "recommendations", "name"}


def dumped(engine: Engine) -> str:
    kept = [row for table in METADATA.tables.keys() - {RELEASES.name} for row in rows(engine, table)]
    return json.dumps([{name: value for name, value in row.items() if name not in _OWN} for row in kept])


# -- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_is_kept_with_what_was_advised_and_why(site: Site) -> None:
    answer = site.call("sudden-pop-with-bruising", hookInstance="4e0a3a1e-3283-4575-ab82-028d55fe2719")
    cards = answer.get_json()["cards"]
    [call] = site.rows("audit_calls")
    assert call["correlation"] == answer.headers["X-Correlation-Id"]
    assert call["hook_instance"] == Pseudonyms(site.settings).of("4e0a3a1e-3283-4575-ab82-028d55fe2719")
    assert (call["client"], call["service"], call["hook"]) == ("", "gluteal-hamstring-pain", "patient-view")
    assert (call["status"], call["cards"], call["at"]) == (200, len(cards), int(site.clock.seconds() * 1000))
    assert call["knowledge"] == cards[0]["extension"]["org.sitbone.basis"]["knowledge"]["version"]
    assert json.loads(call["states"]) == answer.get_json()["extension"]["org.sitbone.assessment"]["data"]
    assert set(json.loads(call["took"])) == {"read", "fetch", "answer", "send"}
    told = {
        item["id"]: item["indicator"]
        for card in cards
        for item in card["extension"]["org.sitbone.basis"]["recommendations"]
    }
    fired = json.loads(call["fired"])
    assert told.items() <= fired.items()
    assert {indicator for id_, indicator in fired.items() if id_ not in told} <= {""}


def test_a_call_with_cards_tells_how_much_of_what_was_read_is_no_valid_fhir(site: Site) -> None:
    broken = json.loads((FIXTURES / "proximal-hamstring-tendinopathy.json").read_text("utf-8"))["prefetch"]
    for entry in broken["observations"]["entry"][:2]:
        entry["resource"]["issued"] = "some day"
    site.call(prefetch=broken)
    site.call()
    site.call(prefetch={})
    assert [row["not_valid"] for row in site.rows("audit_calls")] == ['{"Observation":2}', "{}", None]


def test_each_card_is_kept_with_topic_indicator_recommendations_and_suggestions(site: Site) -> None:
    cards = site.call("sudden-pop-with-bruising").get_json()["cards"]
    kept = {row["uuid"]: row for row in site.rows("audit_cards")}
    assert len(kept) == len(cards) > 0
    for card in cards:
        row, basis = kept[card["uuid"]], card["extension"]["org.sitbone.basis"]["recommendations"]
        assert row["topic"] == card["source"]["topic"]["code"]
        assert row["indicator"] == card["indicator"]
        assert (row["recommendation"], row["version"]) == (basis[0]["id"], basis[0]["version"])
        assert json.loads(row["recommendations"]) == [[item["id"], item["version"]] for item in basis]
        assert json.loads(row["suggestions"]) == [each["uuid"] for each in card.get("suggestions", ())]
        assert row["suppressed_since"] is None
    assert kept[cards[0]["uuid"]]["red_flag"]


@pytest.mark.parametrize(("change", "status"), [({"prefetch": {}}, 412), ({"hook": "order-sign"}, 400)])
def test_a_refused_call_is_kept_without_cards(change: dict[str, Any], status: int, site: Site) -> None:
    assert site.call(**change).status_code == status
    [call] = site.rows("audit_calls")
    assert (call["status"], call["cards"], json.loads(call["fired"])) == (status, 0, {})
    assert site.rows("audit_cards") == []


@pytest.mark.parametrize(
    ("agent", "extension"),
    [("sitbone-check/1.2.3", {}), ("some-proxy/1.0", {"org.sitbone.check": {}}), ("sitbone-check", {})],
)
def test_what_is_marked_as_of_a_check_is_kept_with_its_mark(agent: str, extension: dict[str, Any], site: Site) -> None:
    def send(path: str, body: dict[str, Any]) -> Any:
        marked = {**body, "extension": extension} if extension else body
        return site.client.post(path, json=marked, headers={"User-Agent": agent})

    body = json.loads((FIXTURES / "sudden-pop-with-bruising.json").read_text("utf-8"))
    card = send(PATH, body).get_json()["cards"][0]
    assert send(f"{PATH}/feedback", {"feedback": [site.outcome(card["uuid"])]}).status_code == 200
    for table in ("audit_calls", "audit_cards", "audit_feedback"):
        assert {bool(row["is_check"]) for row in site.rows(table)} == {True}


@pytest.mark.parametrize("agent", ["", "Mozilla/5.0 sitbone-check/1", "sitbone-checker/1", "sitbone"])
def test_what_is_not_marked_is_of_no_check(agent: str, site: Site) -> None:
    body = json.loads((FIXTURES / "sudden-pop-with-bruising.json").read_text("utf-8"))
    site.client.post(PATH, json={**body, "extension": {"org.example.check": {}}}, headers={"User-Agent": agent})
    assert [bool(row["is_check"]) for row in site.rows("audit_calls")] == [False]


def test_a_marked_report_does_not_stand_for_the_same_one_without_the_mark(site: Site) -> None:
    outcome = site.outcome(str(uuid4()))
    for headers in ({"User-Agent": "sitbone-check/1"}, {}):
        answer = site.client.post(f"{PATH}/feedback", json={"feedback": [outcome]}, headers=headers)
        assert answer.status_code == 200
    assert sorted(bool(row["is_check"]) for row in rows(site.audit.engine, "audit_feedback")) == [False, True]


def test_the_same_patient_of_a_client_has_one_hash_and_other_patients_and_clients_another(site: Site) -> None:
    entries = site.client.application.extensions["audit_trail"].rows
    assert entries.patient("a", "1") == entries.patient("a", "1")
    others = [entries.patient("a", "2"), entries.patient("b", "1"), entries.patient(None, "a1")]
    assert len({entries.patient("a", "1"), *others}) == 4
    site.call()
    site.call()
    first, second = site.rows("audit_calls")
    assert first["patient"] == second["patient"]
    assert len(first["patient"]) == 32


def test_the_record_of_every_kind_of_call_holds_nothing_of_the_patient(site: Site) -> None:
    sent: set[str] = set()
    for path in sorted(FIXTURES.glob("*.json"))[::6]:
        body = json.loads(path.read_text("utf-8"))
        body["context"]["patientName"] = "Jane Doe of Main Street"
        body["fhirServer"] = "https://ehr.example.org/fhir/tenant-of-jane-doe"
        body["hookInstance"] = f"Jane Doe {uuid4()}"
        body["prefetch"]["Jane-Doe-key"] = {"resourceType": "Patient", "name": [{"family": "Doe-Smith"}]}
        sent |= values_of({name: value for name, value in body.items() if name != "hook"}) | {"Jane-Doe-key"}
        for changed in (body, {**body, "prefetch": {"patient": "Jane Doe was here"}}):
            site.client.post(PATH, json=changed)
    words = {"reason": {"code": "Jane Doe says no"}, "userComment": "Jane Doe cannot lie still"}
    site.report(site.outcome("Jane Doe", "accepted", acceptedSuggestions=[{"id": "Jane Doe"}], overrideReasons=[words]))
    site.audit.close()
    held = dumped(site.audit.engine)
    assert "gluteal-hamstring-pain" in held
    assert {text for text in sent | {"Jane"} if text in held} == set()


def test_without_a_key_two_starts_cannot_be_put_together(new_site: Callable[..., Site]) -> None:
    patients = set()
    for _ in range(2):
        site = new_site(log_key=None)
        site.call()
        patients |= {row["patient"] for row in site.rows("audit_calls")}
    assert len(patients) == 2


def test_the_service_works_without_a_record() -> None:
    assert open_audit(Settings(audit="off")) is None


# -- writing ----------------------------------------------------------------------------------------------------------


def entry(number: int = 0) -> CallRows:
    call: dict[str, Any] = {
        "id": f"{number:032}",
        "at": number,
        "correlation": "c",
        "hook_instance": None,
        "patient": None,
        "client": "",
        "service": "s",
        "hook": "patient-view",
        "status": 200,
        "knowledge": "1",
        "states": "{}",
        "fired": "{}",
        "took": "{}",
        "cards": 0,
        "is_check": False,
        "not_valid": None,
        "mode": "live",
    }
    return CallRows(call, ())


def test_a_record_has_no_thread_and_no_connection_before_its_first_call(audit: AuditWriter) -> None:
    # Other records of this process may have a thread.
    before = {*threading.enumerate()}
    assert audit._thread is None
    assert audit.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
    audit.keep(entry())
    assert "audit" in {thread.name for thread in {*threading.enumerate()} - before}


def test_what_waits_is_written_at_the_end(audit: AuditWriter) -> None:
    for number in range(1_200):
        audit.keep(entry(number))
    audit.close()
    assert len(rows(audit.engine, "audit_calls")) == 1_200
    assert audit.health().queued == audit.health().dropped == 0


def test_a_batch_whose_confirmation_was_lost_is_not_doubled(audit: AuditWriter) -> None:
    audit.write([entry(1), entry(2)])
    for number in range(4):
        audit.keep(entry(number))
    audit.close()
    assert len(rows(audit.engine, "audit_calls")) == 4


def test_an_old_sqlite_that_takes_few_values_in_a_statement_is_given_no_more(tmp_path: Path) -> None:
    audit = open_audit(Settings(audit=tmp_path))
    assert audit is not None
    listen(audit.engine, "connect", lambda made, _: made.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999))
    audit.write([entry(number) for number in range(200)])

    assert len(rows(audit.engine, "audit_calls")) == 200


def unreachable(audit: AuditWriter, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the database be away; how it comes back."""

    def away(_batch: object) -> None:
        raise opening_error()

    monkeypatch.setattr(audit, "write", away, raising=True)
    return monkeypatch.undo


def opening_error() -> Exception:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    return OperationalError("secret statement", {}, RuntimeError("secret address"))


def test_while_the_database_is_away_the_queue_keeps_to_its_bound_and_counts_what_it_drops(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "_GATHER", 0.01)
    monkeypatch.setattr(writer, "_PAUSE", 0.01)
    audit = AuditWriter(site.audit.engine, bound=10)
    with monkeypatch.context() as away:
        unreachable(audit, away)
        for number in range(15):
            audit.keep(entry(number))
        end = time.monotonic() + 5
        while audit.health().last_error is None and time.monotonic() < end:
            time.sleep(0.01)
        health = audit.health()
        assert (health.queued, health.dropped, health.written) == (10, 5, 0)
        assert health.last_error is not None
        time.sleep(0.05)
    end = time.monotonic() + 5
    while audit.health().queued and time.monotonic() < end:
        time.sleep(0.01)
    audit.keep(entry(99))
    audit.close()
    assert {row["at"] for row in rows(audit.engine, "audit_calls")} == {*range(10), 99}
    assert [line.levelname for line in caplog.records if line.name == "sitbone"] == ["ERROR", "WARNING"]
    assert "secret" not in caplog.text


def test_what_cannot_be_written_at_the_end_is_counted_and_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit = AuditWriter(site.audit.engine)
    unreachable(audit, monkeypatch)
    audit.keep(entry())
    audit.close(0.5)
    assert audit.health().dropped == 1
    assert "1 calls not kept at the end" in caplog.text


def test_readiness_says_how_the_record_fares_and_stays_ready_while_it_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_GATHER", 0.01)
    assert site.client.get("/readyz").get_json()["audit"] == {"queued": 0, "dropped": 0}
    with monkeypatch.context() as away:
        unreachable(site.audit, away)
        assert site.call().status_code == 200
        end = time.monotonic() + 5
        while site.audit.health().last_error is None and time.monotonic() < end:
            time.sleep(0.01)
        ready = site.client.get("/readyz")
        assert ready.status_code == 200
        told = ready.get_json()["audit"]
        assert told.pop("lastError").endswith("+00:00")
        assert told == {"queued": 1, "dropped": 0}


def test_the_record_forgets_by_itself_what_is_older_than_the_setting(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_GATHER", 0.01)
    audit = AuditWriter(site.audit.engine, days=30, clock=clock.seconds)
    old = int(clock.seconds() * 1000) - 30 * 86_400_000
    audit.write([entry(old - 1), entry(old)])
    audit.keep(entry(int(clock.seconds() * 1000)))
    end = time.monotonic() + 5
    while (kept := {row["at"] for row in rows(audit.engine, "audit_calls")}) & {old - 1} and time.monotonic() < end:
        time.sleep(0.02)
    audit.close()
    assert kept >= {old}
    assert old - 1 not in kept


# -- feedback ---------------------------------------------------------------------------------------------------------


def test_feedback_is_kept_before_it_is_acknowledged(site: Site) -> None:
    card = site.call().get_json()["cards"][0]
    reason = card["overrideReasons"][0]
    suggestion = str(uuid4())
    assert site.report(site.outcome(card["uuid"], overrideReason={"reason": reason, "userComment": "no"})) == 200
    assert site.report(site.outcome(card["uuid"], "accepted", acceptedSuggestions=[{"id": suggestion}])) == 200
    kept = {row["outcome"]: row for row in rows(site.audit.engine, "audit_feedback")}
    assert json.loads(kept["overridden"]["reasons"]) == [reason["code"]]
    assert kept["overridden"]["commented"]
    assert not kept["accepted"]["commented"]
    assert json.loads(kept["accepted"]["suggestions"]) == [suggestion]
    assert {row["card"] for row in kept.values()} == {card["uuid"]}


@pytest.mark.parametrize(
    "reasons",
    [
        {"overrideReason": {"reason": {"code": "patient-refused"}}},
        {"overrideReasons": [{"reason": {"code": "patient-refused"}}]},
        {"overrideReasons": {"reason": {"code": "patient-refused"}}},
    ],
)
def test_every_spelling_of_reasons_is_the_same_feedback(reasons: dict[str, Any], site: Site) -> None:
    assert site.report(site.outcome(str(uuid4()), **reasons)) == 200
    [row] = rows(site.audit.engine, "audit_feedback")
    assert json.loads(row["reasons"]) == ["other"]


def test_feedback_that_comes_again_is_kept_once_and_counted_also_within_one_batch(site: Site) -> None:
    one, other = site.outcome(str(uuid4())), site.outcome(str(uuid4()))
    for batch in ([one], [one, one, other], [{**one, "card": one["card"].upper()}]):
        assert site.report(*batch) == 200
    times = {row["card"]: row["times"] for row in rows(site.audit.engine, "audit_feedback")}
    assert times == {one["card"]: 4, other["card"]: 1}


def test_of_a_batch_that_comes_again_with_its_bad_element_mended_nothing_is_kept_twice(site: Site) -> None:
    one, bad, other = (site.outcome(str(uuid4())) for _ in range(3))
    assert site.report(one, {**bad, "outcome": "ignored"}, other) == 200
    assert len(rows(site.audit.engine, "audit_feedback")) == 2
    assert site.report(one, bad, other) == 200
    times = {row["card"]: row["times"] for row in rows(site.audit.engine, "audit_feedback")}
    assert times == {one["card"]: 2, bad["card"]: 1, other["card"]: 2}


def test_feedback_that_comes_again_after_a_new_start_without_a_key_is_known(new_site: Callable[..., Site]) -> None:
    first = new_site(log_key=None)
    again = first.outcome(str(uuid4()))
    assert first.report(again) == 200
    assert new_site(log_key=None).report(again) == 200
    assert [row["times"] for row in rows(first.audit.engine, "audit_feedback")] == [2]


def test_feedback_that_cannot_be_kept_is_503_with_a_time_to_come_back_and_nothing_of_it_is_kept(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with site.audit.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_feedback RENAME TO elsewhere")
    body = {"feedback": [site.outcome(str(uuid4())), site.outcome(str(uuid4()))]}
    refused = site.client.post(f"{PATH}/feedback", json=body)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert refused.get_json()["resourceType"] == "OperationOutcome"
    assert body["feedback"][0]["card"] not in caplog.text
    assert rows(site.audit.engine, "elsewhere") == []
    with site.audit.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_feedback")
    assert site.call().status_code == 200


# -- the database -----------------------------------------------------------------------------------------------------


def test_the_steps_make_the_tables_that_the_code_knows(settings: Settings) -> None:
    engine = open_database(settings)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": True,
                "include_name": lambda name, kind, _parents: (
                    kind != "table" or str(name).startswith(("audit_", "record_"))
                ),
            },
        )
        assert compare_metadata(context, METADATA) == []
        assert form_of(connection) == HEAD


def test_the_newest_step_is_the_one_that_the_code_needs() -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


# What later forms of the audit trail added to a call.
LATER = ("is_check", "not_valid", "mode")


def test_a_record_of_the_first_form_keeps_its_rows_which_are_of_no_check(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = Settings(audit=tmp_path)
    old = {name: value for name, value in entry(1).call.items() if name not in LATER}
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = database.make_engine(make_url(f"sqlite:///{tmp_path / 'record.sqlite'}"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = ", ".join(old)
        connection.exec_driver_sql(
            f"INSERT INTO record_calls ({names}) VALUES ({', '.join('?' * len(old))})",  # noqa: S608 - names of ours
            tuple(old.values()),
        )
    (tmp_path / "record.sqlite").chmod(0o600)
    [row] = rows(open_database(settings), "audit_calls")
    assert (row["at"], bool(row["is_check"])) == (1, False)


def written_by_the_form_before_the_tables_were_renamed(site: Site) -> None:
    """Put what the audit trail holds into tables as form 0004 had them, in the place of those of today."""
    held = {name: site.rows(name) for name in METADATA.tables.keys() - {RELEASES.name}}
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with site.audit.engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for name, kept in held.items():
            # That form counted nothing of days.
            for row in kept if name != "audit_days" else ():
                old = {column.replace("suppressed_since", "held_since"): value for column, value in row.items()}
                old.pop("mode", None)
                names, places = ", ".join(old), ", ".join(f":{column}" for column in old)
                table = name.replace("audit_", "record_")
                statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - names of ours
                connection.execute(text(statement), old)


def test_reports_and_suppression_span_what_was_written_before_the_tables_were_renamed_and_after(
    new_site: Callable[..., Site], settings: Settings
) -> None:
    before = new_site(suppression_days=7)
    override(before, last_card(before))
    assert len(held(before.call())) == 1
    written_by_the_form_before_the_tables_were_renamed(before)
    open_database(settings, upgrading=True)
    after = new_site(suppression_days=7)
    assert len(held(after.call())) == 1
    after.audit.close()
    until = f"{after.clock.now:%Y-%m-%d}"
    printed = CliRunner().invoke(main, ["report", "--until", until, "--json"], env=environ(settings))
    told = json.loads(printed.output)["totals"]
    assert (told["calls"], told["overridden"], told["suppressed"]) == (3, 1, 2)


def test_to_upgrade_again_changes_nothing(settings: Settings) -> None:
    audit = open_audit(settings)
    assert audit is not None
    audit.write([entry(1)])
    open_database(settings, upgrading=True)
    assert len(rows(audit.engine, "audit_calls")) == 1


def in_a_process(settings: Settings, together: Any, results: Any) -> None:
    # It is asked whether they agree, not how long one of them waits for another on a busy machine.
    database._LOCK = 30.0
    together.wait(30)
    audit = open_audit(settings)
    assert audit is not None
    results.put(len(rows(audit.engine, "audit_calls")))


def test_processes_that_open_a_new_file_at_the_same_moment_agree(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    results, together = context.Queue(), context.Barrier(3)
    arguments = (Settings(audit=tmp_path), together, results)
    workers = [context.Process(target=in_a_process, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [0, 0, 0]
    for worker in workers:
        worker.join(60)


class Refusing:
    """A cursor that refuses, for these reasons, before it does what it is told."""

    def __init__(self, *reasons: int) -> None:
        self.reasons = list(reasons)

    def execute(self, _statement: str) -> None:
        if self.reasons:
            refused = sqlite3.OperationalError("refused")
            refused.sqlite_errorcode = self.reasons.pop(0)
            raise refused


def test_where_sqlite_does_not_wait_for_another_process_to_switch_to_wal_it_is_tried_again() -> None:
    cursor = Refusing(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)
    connecting._run(cursor, connecting._WAL, 30.0)
    assert cursor.reasons == []


@pytest.mark.parametrize(
    ("reason", "statement", "patience"),
    [
        (sqlite3.SQLITE_BUSY, connecting._WAL, -1.0),
        (sqlite3.SQLITE_READONLY, connecting._WAL, 30.0),
        (sqlite3.SQLITE_BUSY, "PRAGMA synchronous = FULL", 30.0),
    ],
    ids=["too long", "for another reason", "another statement"],
)
def test_what_would_not_come_by_itself_is_not_tried_again(reason: int, statement: str, patience: float) -> None:
    cursor = Refusing(reason, reason)
    with pytest.raises(sqlite3.OperationalError):
        connecting._run(cursor, statement, patience)
    assert cursor.reasons == [reason]


def test_on_postgresql_an_older_form_ends_the_start_with_the_command_that_helps(postgresql: Postgresql) -> None:
    settings = Settings(audit_url=postgresql.url)
    with pytest.raises(SettingsError, match=r"has no audit trail yet: run `sitbone db upgrade` first"):
        open_audit(settings)
    environ = {"SITBONE_AUDIT_URL": postgresql.url}
    upgraded = CliRunner().invoke(main, ["db", "upgrade"], env=environ)
    assert upgraded.exit_code == 0
    assert upgraded.output.startswith("The audit trail in postgresql+psycopg://")
    assert upgraded.output.endswith(f" has form {HEAD}.\n")
    assert open_audit(settings) is not None
    postgresql.execute("UPDATE record_version SET version_num = '0000'")
    with pytest.raises(SettingsError, match=r"has another form of the audit trail: run `sitbone db upgrade` first"):
        open_audit(settings)


def test_a_record_of_a_newer_version_is_refused_and_left_as_it_is(settings: Settings) -> None:
    engine = open_database(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE record_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match="made by a newer version"):
        open_database(settings, upgrading=True)
    assert rows(engine, "record_version") == [{"version_num": "9999"}]


def test_the_file_lies_where_the_setting_says_or_beside_the_store_or_in_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("audit", "store"):
        (tmp_path / name).mkdir(mode=0o700)
    audit, store = tmp_path / "audit", tmp_path / "store"
    open_audit(Settings(audit=audit, store=store))
    assert [path.name for path in audit.iterdir()] == ["record.sqlite"]
    open_audit(Settings(store=store))
    assert [path.name for path in store.iterdir()] == ["record.sqlite"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    open_audit(Settings(port=9000))
    assert stat.S_IMODE((tmp_path / "sitbone-9000").stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(SettingsError, match=f'SITBONE_AUDIT is "{tmp_path}" and must name a folder'):
        open_audit(Settings(audit=tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://user:secret@host/db",
        "postgresql+nodriver://user:secret@host/db",
        "postgresql+psycopg://user:secret@/db?host=/nowhere/at/all",
        "sqlite:////nowhere/at/all/secret.sqlite",
    ],
)
def test_a_database_that_cannot_be_used_ends_the_start_without_its_address(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_audit(Settings(audit_url=url))
    assert str(refused.value).startswith("SITBONE_AUDIT_URL ")
    assert "secret" not in str(refused.value)


def test_hosts_that_share_a_record_share_the_store_in_it(postgresql: Postgresql, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    one, other = (open_store(Settings(audit_url=postgresql.url)) for _ in range(2))
    elsewhere = open_store(Settings(audit_url=postgresql.url, store=tmp_path))
    assert one.first_use("a", "1", time.time() + 300)
    assert not other.first_use("a", "1", time.time() + 300)
    assert elsewhere.first_use("a", "1", time.time() + 300)
    for store in (one, other, elsewhere):
        store._engine.dispose()


# -- suppression -----------------------------------------------------------------------------------------------------


def override(site: Site, card: dict[str, Any], outcome: str = "overridden") -> None:
    site.audit.close()
    assert site.report(site.outcome(card["uuid"], outcome)) == 200
    site.clock.move(minutes=1)


def last_card(site: Site, fixture: str = "proximal-hamstring-tendinopathy") -> dict[str, Any]:
    card: dict[str, Any] = site.call(fixture).get_json()["cards"][-1]
    return card


def held(answer: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = answer.get_json()["extension"]["org.sitbone.assessment"].get("heldBack", [])
    return found


def test_a_card_that_was_overridden_is_suppressed_for_this_patient_and_for_so_many_days(
    new_site: Callable[..., Site],
) -> None:
    site = new_site(suppression_days=7)
    card = last_card(site)
    since = site.clock.now.isoformat(timespec="seconds")
    override(site, card)
    answer = site.call()
    topic = card["source"]["topic"]["code"]
    assert held(answer) == [{"topic": topic, "since": since}]
    assert topic not in {each["source"]["topic"]["code"] for each in answer.get_json()["cards"]}
    site.clock.move(days=6, hours=23)
    assert held(site.call())
    site.clock.move(hours=1)
    assert held(site.call()) == []
    kept = [row for row in site.rows("audit_cards") if row["suppressed_since"] is not None]
    assert {row["topic"] for row in kept} == {topic}
    assert len(kept) == 2


def test_nothing_is_suppressed_unless_the_setting_says_so(site: Site) -> None:
    override(site, last_card(site))
    assert held(site.call()) == []


def test_another_patient_sees_the_card(new_site: Callable[..., Site]) -> None:
    site = new_site(suppression_days=7)
    override(site, last_card(site))
    body = (FIXTURES / "proximal-hamstring-tendinopathy.json").read_text("utf-8")
    patient = json.loads(body)["context"]["patientId"]
    other = json.loads(body.replace(patient, f"{patient}-2"))
    assert held(site.client.post(PATH, json={**other, "hookInstance": str(uuid4())})) == []


def test_what_is_marked_as_of_a_check_holds_nothing_back(new_site: Callable[..., Site]) -> None:
    site = new_site(suppression_days=7)
    card = last_card(site)
    site.audit.close()
    reported = {"feedback": [site.outcome(card["uuid"])]}
    headers = {"User-Agent": "sitbone-check/1"}
    assert site.client.post(f"{PATH}/feedback", json=reported, headers=headers).status_code == 200
    site.clock.move(minutes=1)
    assert held(site.call()) == []


def test_an_acceptance_after_the_override_ends_the_suppression(new_site: Callable[..., Site]) -> None:
    site = new_site(suppression_days=7)
    card = last_card(site)
    override(site, card)
    override(site, card, "accepted")
    assert held(site.call()) == []


def test_an_override_counts_after_an_acceptance_in_a_future_that_no_clock_has_reached(
    new_site: Callable[..., Site],
) -> None:
    site = new_site(suppression_days=7)
    card = last_card(site)
    site.audit.close()
    accepted = site.outcome(card["uuid"], "accepted", outcomeTimestamp="9999-12-31T00:00:00Z")
    assert site.report(accepted) == 200
    site.clock.move(minutes=1)
    override(site, card)
    assert held(site.call())


def test_a_card_that_is_suppressed_under_the_same_hook_instance_was_overridden_once(
    new_site: Callable[..., Site],
) -> None:
    site = new_site(suppression_days=14)
    instance = str(uuid4())
    card = site.call(hookInstance=instance).get_json()["cards"][-1]
    override(site, card)
    assert held(site.call(hookInstance=instance))
    site.audit.close()
    printed = CliRunner().invoke(
        main, ["report", "--until", f"{site.clock.now:%Y-%m-%d}", "--json"], env=environ(site.settings)
    )
    told = json.loads(printed.output)
    assert (told["totals"]["overridden"], told["totals"]["suppressed"]) == (1, 1)
    assert sum(each["cards"] for each in told["override_reasons"]) == 1
    assert sum(each["overridden"] for each in told["burdens"]) == 1


@pytest.mark.parametrize(
    "fixture", ["many-red-flags", "sudden-pop-with-bruising", "radiating-nerve-symptoms", "malignancy"]
)
def test_red_flags_are_never_suppressed(fixture: str, new_site: Callable[..., Site]) -> None:
    site = new_site(suppression_days=7)
    first = site.call(fixture).get_json()["cards"]
    for card in first:
        override(site, card)
    flags = {flag["id"] for flag in site.call(fixture).get_json()["extension"]["org.sitbone.assessment"]["redFlags"]}
    again = site.call(fixture).get_json()["cards"]
    urgent = [card["source"]["topic"]["code"] for card in first if card["indicator"] != "info"]
    assert flags
    assert [card["source"]["topic"]["code"] for card in again][: len(urgent)] == urgent


def test_a_card_that_a_recommendation_has_joined_since_is_shown(new_site: Callable[..., Site]) -> None:
    site = new_site(suppression_days=7)
    override(site, last_card(site))
    with site.audit.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_cards SET recommendations = '[]'")
    assert held(site.call()) == []


@pytest.mark.parametrize("fault", ["fails", "is silent"])
def test_when_the_audit_trail_does_not_answer_nothing_is_suppressed_and_nobody_waits(
    fault: str, new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(suppression_days=7)
    override(site, last_card(site))
    asked = []

    def look(*_: object) -> dict[Any, Any]:
        asked.append(1)
        if fault == "fails":
            raise opening_error()
        time.sleep(0.5)
        return {}

    monkeypatch.setattr("service.audit.suppression.LONGEST_LOOK", 0.1)
    monkeypatch.setattr("service.audit.suppression.overridden_cards", look)
    answer = site.call()
    assert answer.status_code == 200
    assert held(answer) == []
    site.call()
    assert len(asked) == 1


def test_suppression_needs_a_key_by_which_a_patient_is_known_again(new_site: Callable[..., Site]) -> None:
    with pytest.raises(SettingsError, match="SITBONE_LOG_KEY"):
        new_site(suppression_days=7, log_key=None)


def test_a_chart_without_a_card_asks_nothing(new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    site = new_site(suppression_days=7)
    monkeypatch.setattr(Suppression, "_overridden", None)
    assert site.call("no-complaint").status_code == 200


# -- the commands -----------------------------------------------------------------------------------------------------


def test_purge_removes_what_is_older_than_so_many_days_and_says_how_much(site: Site, clock: Clock) -> None:
    assert site.report(site.outcome(site.call().get_json()["cards"][0]["uuid"])) == 200
    site.audit.close()
    with site.audit.engine.begin() as connection:
        for table in METADATA.tables.keys() - {RELEASES.name}:
            connection.exec_driver_sql(f"UPDATE {table} SET at = {int((time.time() - 31 * 86_400) * 1000)}")  # noqa: S608
    clock.now = clock.now.fromtimestamp(time.time(), clock.now.tzinfo)
    young = site.call().get_json()["cards"]
    site.audit.close()
    old_cards = len(rows(site.audit.engine, "audit_cards")) - len(young)
    purged = CliRunner().invoke(main, ["db", "purge", "--days", "30"], env=environ(site.settings))
    assert purged.exit_code == 0, purged.output
    removed = f"Removed 1 calls, {old_cards} cards, 1 reports of feedback, 0 steps of pages and 0 differences of a"
    assert purged.output.startswith(removed)
    assert {row["uuid"] for row in site.rows("audit_cards")} == {card["uuid"] for card in young}
    assert len(site.rows("audit_calls")) == 1


def test_purge_asks_for_a_number_of_days(settings: Settings) -> None:
    refused = CliRunner().invoke(main, ["db", "purge"], env=environ(settings))
    assert refused.exit_code == 2
    assert "--days" in refused.output
    taken = CliRunner().invoke(main, ["db", "purge"], env={**environ(settings), "SITBONE_AUDIT_DAYS": "1"})
    assert taken.exit_code == 0


@pytest.mark.parametrize("days", ["0", "00", "-0"])
def test_purge_refuses_0_days_which_keep_everything_as_a_setting_and_removes_nothing(days: str, site: Site) -> None:
    site.call()
    for more in ([], ["--all"]):
        refused = CliRunner().invoke(main, ["db", "purge", "--days", days, *more], env=environ(site.settings))
        assert refused.exit_code == 2
        assert "where SITBONE_AUDIT_DAYS=0 keeps everything" in refused.output
        assert "--all" in refused.output
    assert len(site.rows("audit_calls")) == 1


def test_purge_removes_all_where_that_is_said_also_what_is_dated_in_the_time_to_come(site: Site) -> None:
    assert site.report(site.outcome(site.call().get_json()["cards"][0]["uuid"])) == 200
    site.audit.close()
    with site.audit.engine.begin() as connection:
        for table in METADATA.tables.keys() - {RELEASES.name}:
            connection.exec_driver_sql(f"UPDATE {table} SET at = {int((time.time() + 86_400) * 1000)}")  # noqa: S608
    kept = {**environ(site.settings), "SITBONE_AUDIT_DAYS": "1"}
    assert CliRunner().invoke(main, ["db", "purge", "--days", "1"], env=kept).exit_code == 0
    assert len(site.rows("audit_calls")) == 1
    purged = CliRunner().invoke(main, ["db", "purge", "--all"], env=kept)
    assert purged.exit_code == 0, purged.output
    assert [site.rows(table) for table in ("audit_calls", "audit_cards", "audit_feedback")] == [[], [], []]


def test_purge_asks_which_is_meant_where_days_and_all_are_named(site: Site) -> None:
    site.call()
    refused = CliRunner().invoke(main, ["db", "purge", "--days", "1", "--all"], env=environ(site.settings))
    assert refused.exit_code == 2
    assert refused.output == "Name --days to keep some or --all to remove everything, not both.\n"
    assert len(site.rows("audit_calls")) == 1


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "purge", "--days", "1"], ["report"]])
def test_a_command_that_cannot_use_the_database_says_so_and_ends_with_2(command: list[str]) -> None:
    away = {"SITBONE_AUDIT_URL": "postgresql+psycopg://user:secret@/db?host=/nowhere/at/all"}
    refused = CliRunner().invoke(main, command, env=away)
    assert refused.exit_code == 2
    assert "SITBONE_AUDIT_URL" in refused.output
    assert "secret" not in refused.output


def test_purge_takes_no_more_days_than_the_setting(settings: Settings) -> None:
    for days in ("36501", "999999999999999999"):
        refused = CliRunner().invoke(main, ["db", "purge", "--days", days], env=environ(settings))
        assert refused.exit_code == 2
        assert "1<=x<=36500" in refused.output
    assert CliRunner().invoke(main, ["db", "purge", "--days", "36500"], env=environ(settings)).exit_code == 0


@pytest.mark.parametrize(
    ("command", "members"),
    [
        (["db", "upgrade"], {"database", "form"}),
        (["db", "purge", "--days", "1"], {"database", "calls", "cards", "feedback", "pages"}),
        (["report"], {"database", "totals", "stages"}),
    ],
)
def test_a_command_names_the_database_that_it_used_in_words_and_as_json(
    command: list[str], members: set[str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    env = {"SITBONE_AUDIT": str(tmp_path)}
    open_audit(Settings(audit=tmp_path))
    told = json.loads(CliRunner().invoke(main, [*command, "--json"], env=env).output)
    assert members <= told.keys()
    assert told["database"] == str(tmp_path / "record.sqlite")
    assert told["database"] in CliRunner().invoke(main, command, env=env).output


def test_a_folder_that_is_named_from_here_is_shown_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("store").mkdir(mode=0o700)
    upgraded = CliRunner().invoke(main, ["db", "upgrade"], env={"SITBONE_AUDIT": "store"})
    assert upgraded.output == f"The audit trail in {tmp_path / 'store' / 'record.sqlite'} has form {HEAD}.\n"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:secret@db.example.org:5433/site", "postgresql+psycopg://u@db.example.org:5433/site"),
        (
            "postgresql+psycopg:///site?host=/run/pg&user=u&password=secret&passfile=secret",
            "postgresql+psycopg:///site?host=%2Frun%2Fpg&user=u",
        ),
        ("sqlite:////var/lib/sitbone/r.sqlite", "/var/lib/sitbone/r.sqlite"),
    ],
)
def test_the_name_of_a_database_holds_nothing_secret(url: str, shown: str) -> None:
    address = database.address_of(Settings(audit_url=url))
    assert address is not None
    assert database.named(address) == shown


@pytest.mark.parametrize("setting", ["SITBONE_AUDIT", "SITBONE_AUDIT_URL", "SITBONE_PORT"])
def test_a_report_of_a_record_that_is_not_there_says_how_to_go_on_and_makes_none(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = {"SITBONE_AUDIT": str(tmp_path), "SITBONE_AUDIT_URL": f"sqlite:///{tmp_path}/r", "SITBONE_PORT": "18480"}
    refused = CliRunner().invoke(main, ["report"], env={setting: values[setting]})
    assert refused.exit_code == 2
    assert refused.output.startswith(f"There is no audit trail at {tmp_path}/")
    assert "SITBONE_PORT" in refused.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "purge", "--days", "1"], ["report"]])
def test_where_no_record_is_kept_a_command_says_so_and_makes_none(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    refused = CliRunner().invoke(main, command, env={"SITBONE_AUDIT": "off"})
    assert refused.exit_code == 2
    assert refused.output.startswith("SITBONE_AUDIT is off, so there is no audit trail:")
    assert list(tmp_path.iterdir()) == []


def test_a_call_record_shows_nothing_of_the_chart_when_it_is_printed() -> None:
    assert "Jane" not in repr(CallRecord("c", "s", patient_id="Jane"))


def test_only_one_of_a_database_in_a_url_and_off_is_off(tmp_path: Path) -> None:
    audit = open_audit(Settings(audit="off", audit_url=f"sqlite:///{tmp_path}/r.sqlite"))
    assert audit is not None
    assert replace(Settings(), log_key=KEY).log_key == KEY


def test_feedback_is_refused_soon_while_somebody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_LOCK", 0.05)
    audit = open_audit(Settings(audit_url=f"sqlite:///{tmp_path}/r.sqlite"))
    assert audit is not None
    with audit.engine.begin(), pytest.raises(ServiceUnavailable):
        audit.keep_feedback([{"id": "1"}])
