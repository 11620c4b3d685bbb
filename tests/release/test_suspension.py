"""Suspending and resuming: at once on every worker, over kill -9 and without the database; check 8 and check 10."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from service.app import create_app
from service.cli import main
from service.release.suspension import Suspensions, open_suspensions
from service.settings import Settings, SettingsError
from tests.charts import CLOCK, packaged
from tests.recording import FIXTURES, PATH
from tests.release.keys import Key, signers_file, write_signed
from tests.serving import patiently, running, workers_at

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql"]

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
BODY = (FIXTURES / "sudden-pop-with-bruising.json").read_bytes()
GOVERNOR, CLINICIAN, EXPIRED = "B. Governor", "A. Clinician", "C. Expired"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def command(store: Path) -> Callable[..., Result]:
    """A command of `sitbone` about this store."""

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(main, arguments, env={"SITBONE_STORE": str(store), **environ})

    return run


def suspended(of: Suspensions) -> list[str]:
    return [each.what for each in of.active()]


def fired() -> list[str]:
    """What fires in the request of these tests."""
    answer = (
        create_app(Settings(), clock=lambda: CLOCK).test_client().post(PATH, data=BODY, content_type="application/json")
    )
    cards = answer.get_json()["cards"]
    return [each["id"] for card in cards for each in card["extension"]["org.sitbone.basis"]["recommendations"]]


# -- the set ----------------------------------------------------------------------------------------------------------


def test_what_another_process_suspends_holds_from_the_next_look_on(store: Path) -> None:
    one, other = (Suspensions(store / "suspensions.jsonl") for _ in range(2))
    assert one.muted().ids == frozenset()
    other.suspend(["rl11-no-imaging-yet"], "A", "why", AT)
    assert dict(one.muted().suspended) == {"rl11-no-imaging-yet": AT}
    other.suspend(["service:analgesic-safety", "everything"], "A", "why", AT)
    assert (dict(one.muted().services), one.muted().everything) == ({"analgesic-safety": AT}, AT)
    assert suspended(Suspensions(store / "suspensions.jsonl")) == suspended(one)


def test_a_call_keeps_the_set_that_it_began_with(store: Path) -> None:
    suspensions = Suspensions(store / "suspensions.jsonl")
    began_with = suspensions.muted()
    suspensions.suspend(["rl11-no-imaging-yet"], "A", "why", AT)
    assert began_with.ids == frozenset()
    assert suspensions.muted().ids == {"rl11-no-imaging-yet"}


def test_a_file_that_is_damaged_ends_the_start_and_lets_nothing_loose_in_a_running_process(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = store / "suspensions.jsonl"
    running_one = Suspensions(file)
    running_one.suspend(["rl11-no-imaging-yet"], "A", "why", AT)
    assert running_one.muted().ids
    file.write_text("no line\n")
    assert running_one.muted().ids == {"rl11-no-imaging-yet"}
    file.unlink()
    assert running_one.muted().ids == {"rl11-no-imaging-yet"}
    assert [record.message.partition(",")[0] for record in caplog.records] == ["suspensions: the file cannot be read"]
    file.write_text("no line\n")
    with pytest.raises(SettingsError, match="must not be let loose"):
        Suspensions(file)


def test_hosts_learn_of_each_other_by_the_database_and_keep_what_they_know_while_it_is_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    hosts = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir(mode=0o700)
        hosts.append(open_suspensions(Settings(store=tmp_path / name, store_url=url)))
    one, other = hosts
    assert one.suspend(["rl11-no-imaging-yet"], "A", "why", AT)
    other.exchange()
    assert other.muted().ids == {"rl11-no-imaging-yet"}
    for each in hosts:
        each.close()
    (tmp_path / "shared.sqlite").rename(tmp_path / "away.sqlite")
    (tmp_path / "shared.sqlite").mkdir()
    # Only here, until the database is back; and a host that starts meanwhile has what its file has.
    assert not other.suspend(["rs09-analgesia"], "A", "why", AT)
    again = open_suspensions(Settings(store=tmp_path / "other", store_url=url))
    assert again.muted().ids == {"rl11-no-imaging-yet", "rs09-analgesia"}
    (tmp_path / "shared.sqlite").rmdir()
    (tmp_path / "away.sqlite").rename(tmp_path / "shared.sqlite")
    other.exchange()
    one.exchange()
    assert one.muted().ids == {"rl11-no-imaging-yet", "rs09-analgesia"}
    for each in (*hosts, again):
        each.close()


def test_hosts_that_share_postgresql_learn_of_each_other_and_of_what_is_resumed(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    hosts = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir(mode=0o700)
        hosts.append(open_suspensions(Settings(store=tmp_path / name, store_url=postgresql.url)))
    one, other = hosts
    try:
        assert one.suspend(["rl11-no-imaging-yet", "rs09-analgesia"], "A", "why", AT)
        other.start()
        assert patiently(lambda: other.muted().ids == {"rl11-no-imaging-yet", "rs09-analgesia"})
        postgresql.stop()
        assert not one.suspend(["everything"], "A", "why", AT)
        assert other.muted().ids == {"rl11-no-imaging-yet", "rs09-analgesia"}
        postgresql.start()
        one.exchange()
        assert patiently(lambda: other.muted().everything == AT)
    finally:
        for each in hosts:
            each.close()


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path, store: Path, command: Callable[..., Result]) -> Callable[..., Path]:
    """A file to resume what is suspended, signed by a key, with other members where they are given."""
    assert command("suspend", "rl11-no-imaging-yet", "--by", "A", "--reason", "why").exit_code == 0

    def write(key: Key, **members: Any) -> Path:
        prepared = command("resume", "--prepare", "rl11-no-imaging-yet", "--by", GOVERNOR, "--reason", "read again")
        assert prepared.exit_code == 0, prepared.output
        file = tmp_path / "resume.json"
        file.write_text(json.dumps({**json.loads(prepared.output), **members}), "utf-8")
        Path(f"{file}.minisig").write_bytes(key.sign(file.read_bytes()))
        return file

    return write


@pytest.fixture(scope="module")
def keys() -> dict[str, Key]:
    return {GOVERNOR: Key(), CLINICIAN: Key(), EXPIRED: Key()}


@pytest.fixture
def signers(tmp_path: Path, keys: dict[str, Key]) -> str:
    roles = {GOVERNOR: ["governance"], CLINICIAN: ["clinical"], EXPIRED: ["governance"]}
    # A key that was good for a month, of which nobody knows where it is now.
    until = {EXPIRED: {"valid_until": "2026-02-28"}}
    tables = (
        {"name": name, "roles": roles[name], "key": key.public, **until.get(name, {})} for name, key in keys.items()
    )
    return str(signers_file(tmp_path / "signers.toml", *tables))


@pytest.fixture
def resume(
    signed: Callable[..., Path], signers: str, keys: dict[str, Key], command: Callable[..., Result]
) -> Callable[..., Result]:
    """Resume by a file that this person has signed, with other members where they are given."""

    def by(signer: str, /, **members: Any) -> Result:
        return command("resume", str(signed(keys.get(signer, Key()), **members)), SITBONE_SIGNERS=signers)

    return by


def test_with_the_signature_of_governance_it_speaks_again_and_no_line_is_removed(
    resume: Callable[..., Result], store: Path, command: Callable[..., Result]
) -> None:
    before = (store / "suspensions.jsonl").read_text()
    resumed = resume(GOVERNOR)
    assert (resumed.exit_code, resumed.output) == (0, "Resumed: rl11-no-imaging-yet.\n")
    assert command("suspended").exit_code == 0
    assert (store / "suspensions.jsonl").read_text().startswith(before)


@pytest.mark.parametrize(
    ("signer", "members", "why"),
    [
        (CLINICIAN, {}, "names B. Governor and is signed by the key of A. Clinician"),
        (CLINICIAN, {"signer": CLINICIAN}, "A. Clinician may not sign as governance"),
        (GOVERNOR, {"role": "clinical"}, "role: "),
        (GOVERNOR, {"signed": "2031-01-01"}, "does not count on 2031-01-01"),
        (EXPIRED, {"signer": EXPIRED, "signed": "2026-02-01"}, "the key of C. Expired does not count on 2"),
        (GOVERNOR, {"knowledge": "another"}, "is about other knowledge"),
        (GOVERNOR, {"resumes": ["0123456789abcdef"]}, "is no suspension that stands"),
        (GOVERNOR, {"resumes": []}, "resumes: "),
        ("a stranger", {}, "is signed by a key that is not among the signers"),
    ],
)
def test_without_a_signature_of_governance_nothing_is_resumed(
    signer: str, members: dict[str, Any], why: str, resume: Callable[..., Result], command: Callable[..., Result]
) -> None:
    refused = resume(signer, **members)
    assert refused.exit_code == 1
    assert why in refused.output
    assert command("suspended").exit_code == 1


def test_a_key_that_is_revoked_resumes_nothing(
    signed: Callable[..., Path], signers: str, keys: dict[str, Key], command: Callable[..., Result], tmp_path: Path
) -> None:
    members = {
        "signer": CLINICIAN,
        "knowledge": packaged().id,
        "revokes": {"key": keys[GOVERNOR].public},
        "why": "It was stolen.",
        "from": "2026-12-01",
    }
    write_signed(tmp_path / "revocations", "stolen", members, keys[CLINICIAN])
    trusted = {"SITBONE_SIGNERS": signers, "SITBONE_SIGNATURES": str(tmp_path)}
    refused = command("resume", str(signed(keys[GOVERNOR])), **trusted)
    assert (refused.exit_code, "a key that is not among the signers" in refused.output) == (1, True)
    assert command("suspended").exit_code == 1


def test_neither_a_changed_file_nor_one_without_signature_nor_a_site_without_signers_resumes(
    signed: Callable[..., Path], signers: str, keys: dict[str, Key], command: Callable[..., Result]
) -> None:
    file = signed(keys[GOVERNOR])
    assert command("resume", str(file)).exit_code == 2
    file.write_text(file.read_text().replace("read again", "read  again"))
    changed = command("resume", str(file), SITBONE_SIGNERS=signers)
    assert (changed.exit_code, "is not over this content" in changed.output) == (1, True)
    Path(f"{file}.minisig").unlink()
    assert command("resume", str(file), SITBONE_SIGNERS=signers).exit_code == 1
    assert command("suspended").exit_code == 1


def test_a_file_that_says_a_member_twice_resumes_nothing(
    signed: Callable[..., Path], signers: str, keys: dict[str, Key], command: Callable[..., Result]
) -> None:
    file = signed(keys[GOVERNOR])
    file.write_text(file.read_text().replace('"role"', '"resumes": ["0123456789abcdef"], "role"', 1))
    Path(f"{file}.minisig").write_bytes(keys[GOVERNOR].sign(file.read_bytes()))
    refused = command("resume", str(file), SITBONE_SIGNERS=signers)
    assert (refused.exit_code, "a member comes twice" in refused.output) == (1, True)
    assert command("suspended").exit_code == 1


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["rl99"], "rl99 is no recommendation"),
        (["--service", "rl11"], "rl11 is no service"),
        ([], "Say what"),
    ],
)
def test_what_does_not_exist_is_not_suspended(
    arguments: list[str], why: str, command: Callable[..., Result], store: Path
) -> None:
    refused = command("suspend", *arguments, "--by", "A", "--reason", "why")
    assert (refused.exit_code, why in refused.output) == (2, True)
    assert not (store / "suspensions.jsonl").exists()


def test_what_is_suspended_is_listed_with_who_and_why(command: Callable[..., Result]) -> None:
    assert command("suspended", "--json").output == "[]\n"
    told = command(
        "suspend", "rs09-analgesia", "--service", "analgesic-safety", "--all", "--by", "A. B", "--reason", "why"
    )
    assert told.output == "Suspended: rs09-analgesia, service:analgesic-safety, everything.\n"
    listed = command("suspended")
    assert listed.exit_code == 1
    assert "rs09-analgesia" in listed.output
    assert "A. B: why" in listed.output
    assert [each["what"] for each in json.loads(command("suspended", "--json").output)] == [
        "rs09-analgesia",
        "service:analgesic-safety",
        "everything",
    ]


def test_readiness_and_discovery_name_what_is_suspended(store: Path) -> None:
    suspensions = Suspensions(store / "suspensions.jsonl")
    client = create_app(Settings(), suspensions=suspensions).test_client()
    assert "suspended" not in client.get("/readyz").get_json()
    suspensions.suspend(["rs09-analgesia", "service:analgesic-safety"], "A", "why", AT)
    names = ["rs09-analgesia", "service:analgesic-safety"]
    assert client.get("/readyz").get_json()["suspended"] == names
    (first, *_) = client.get("/cds-services").get_json()["services"]
    assert first["extension"]["org.sitbone.release"] == {"mode": "live", "suspended": names}
    assert "sitbone_suspended 2.0" in client.get("/metrics").get_data(as_text=True)
    suspensions.suspend(["everything"], "A", "why", AT)
    assert client.get("/readyz").get_json()["mode"] == "silent"


# -- a running service ------------------------------------------------------------------------------------------------


def test_under_calls_it_holds_on_every_worker_after_the_command_and_over_kill_and_start(
    repository: Path, store: Path, command: Callable[..., Result]
) -> None:
    """No call fails, none sees a part of the set, and none that begins after the command has what is suspended."""
    ids = tuple(dict.fromkeys(fired()))[:2]
    assert len(ids) == 2
    environ = {"SITBONE_STORE": str(store), "SITBONE_AUDIT": "off"}

    def seen(base: str) -> tuple[str, ...]:
        request = urllib.request.Request(base + PATH, BODY, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.load(answer)["extension"]["org.sitbone.assessment"]
        return tuple(said.get("suspended", ()))

    with running(repository, **environ) as (base, _stop), ThreadPoolExecutor(8) as callers:
        stopped, sets = Event(), set[tuple[str, ...]]()

        def call_on() -> int:
            calls = 0
            while not stopped.is_set():
                sets.add(seen(base))
                calls += 1
            return calls

        calling = [callers.submit(call_on) for _ in range(6)]
        assert command("suspend", *ids, "--by", "A", "--reason", "why").exit_code == 0
        after = [seen(base) for _ in range(40)]
        stopped.set()
        assert sum(each.result() for each in calling) > 6
        assert sets <= {(), ids}
        assert set(after) == {ids}
        for worker in workers_at(base):
            os.kill(worker, signal.SIGKILL)
        assert {_patiently(lambda: seen(base)) for _ in range(20)} == {ids}
    with running(repository, **environ) as (base, _stop):
        assert seen(base) == ids
    # The database of the store is away at the start.
    away = {**environ, "SITBONE_STORE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing"}
    with running(repository, **away) as (base, _stop):
        assert seen(base) == ids


def _patiently(call: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """The answer to a call, again where its worker was killed under it."""
    for _ in range(50):
        try:
            return call()
        except OSError:
            continue
    raise AssertionError("nobody answers")


def test_ids_of_these_tests_are_those_of_the_knowledge() -> None:
    assert {"rl11-no-imaging-yet", "rs09-analgesia"} <= {each.id for each in packaged().recommendations}
