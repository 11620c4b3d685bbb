"""The store: whatever happens, a token is used once and a rate is one rate, in SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url

from cds_hooks import ServiceUnavailable
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.access import store as store_module
from service.access.store import Store, open_store
from service.audit import open_audit
from service.settings import Settings, SettingsError
from tests.serving import running, status

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql"]

HELD: list[Any] = []
ISSUER = "https://ehr.example.org/"
BASE = "https://cds.example.org/pain"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.sqlite"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.url


@pytest.fixture(autouse=True)
def nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[Engine] = []
    make = store_module.store_engine

    def recorded(url: URL, threads: int) -> Engine:
        made.append(make(url, threads))
        return made[-1]

    monkeypatch.setattr(store_module, "store_engine", recorded)
    yield
    for engine in made:
        engine.dispose()


def engine_for(url: str) -> Engine:
    """The engine as the service makes it."""
    return store_module.store_engine(make_url(url), 2)


@pytest.fixture
def engine(url: str) -> Engine:
    return engine_for(url)


@pytest.fixture
def store(engine: Engine, clock: Clock) -> Store:
    return Store(engine, clock)


def rows(engine: Engine, table: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table}"))  # noqa: S608 - a table of ours


def test_a_token_is_seen_for_the_first_time_once(store: Store, clock: Clock) -> None:
    assert store.first_use("a", "1", clock.now + 300)
    assert not store.first_use("a", "1", clock.now + 300)
    assert not store.first_use("a", "1", clock.now + 900)


@pytest.mark.parametrize(("issuer", "jti"), [("a", "2"), ("b", "1"), ("a1", ""), ("", "a1"), ("a", "1 "), ("A", "1")])
def test_issuer_and_jti_are_told_apart(issuer: str, jti: str, store: Store, clock: Clock) -> None:
    store.first_use("a", "1", clock.now + 300)
    assert store.first_use(issuer, jti, clock.now + 300)


@pytest.mark.parametrize("jti", ["'; DROP TABLE seen_tokens; --", "\x00", "\ud800", "é" * 256, "%s :x ?"])
def test_a_jti_of_any_text_is_only_a_text(jti: str, store: Store, clock: Clock) -> None:
    assert store.first_use("a", jti, clock.now + 300)
    assert not store.first_use("a", jti, clock.now + 300)


def test_of_a_token_only_a_digest_is_kept(store: Store, engine: Engine, clock: Clock, tmp_path: Path) -> None:
    store.first_use("https://secret.example.org/", "secret-jti", clock.now + 300)
    [(key, _)] = rows(engine, "seen_tokens")
    assert len(key) == 64
    assert "secret" not in key
    assert all(b"secret" not in file.read_bytes() for file in tmp_path.iterdir())


def test_what_no_host_can_need_any_more_is_forgotten_and_nothing_else(
    store: Store, engine: Engine, clock: Clock
) -> None:
    store.first_use("a", "old", clock.now + 30.5)
    store.first_use("a", "young", clock.now + 300)
    store.within("c", int(clock.now) // 60, 5)
    clock.now += 331
    assert not store.first_use("a", "old", clock.now)
    clock.now += 61
    store.first_use("a", "another", clock.now + 300)
    assert len(rows(engine, "seen_tokens")) == 2
    assert not store.first_use("a", "young", clock.now)
    assert rows(engine, "calls_in_window") == []


def test_a_host_whose_clock_is_five_minutes_ahead_takes_nothing_from_the_others(
    store: Store, engine: Engine, clock: Clock
) -> None:
    window = int(clock.now) // 60
    store.first_use("a", "1", clock.now + 0.5)
    assert store.within("c", window, 1)
    ahead = Clock()
    ahead.now += 300
    assert Store(engine, ahead).is_ready()
    assert not store.first_use("a", "1", clock.now)
    assert not store.within("c", window, 1)


def test_a_great_many_old_tokens_are_removed_in_parts_and_soon(store: Store, engine: Engine, clock: Clock) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20500) "
            "INSERT INTO seen_tokens SELECT CAST(i AS VARCHAR(64)), 1 FROM n"
        )
    clock.now += 61
    left = []
    for number in range(3):
        store.first_use("a", str(number), clock.now)
        left.append(len(rows(engine, "seen_tokens")) - number - 1)
    assert left == [10_500, 500, 0]


def test_calls_are_counted_by_client_and_window_up_to_the_limit(store: Store) -> None:
    assert [store.within("a", 1, 3) for _ in range(5)] == [True, True, True, False, False]
    assert store.within("b", 1, 3)
    assert store.within("a", 2, 3)
    assert not store.within("a", 3, 0)


def test_a_changed_limit_holds_at_once(store: Store) -> None:
    assert [store.within("a", 1, 2) for _ in range(3)] == [True, True, False]
    assert store.within("a", 1, 3)


def in_a_process(url: str, together: Any, results: Any) -> None:
    together.wait(30)
    store = open_store(Settings(store_url=url))
    end = time.time() + 300
    firsts = []
    for number in range(100):
        together.wait(30)
        firsts.append(store.first_use("a", str(number), end))
    within = sum(store.within("a", 1, 150) for _ in range(100))
    results.put((firsts, within))


def test_processes_that_share_the_store_agree_even_at_the_same_moment_and_from_their_first_start(url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    results, together = context.Queue(), context.Barrier(3)
    workers = [context.Process(target=in_a_process, args=(url, together, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert [sum(firsts) for firsts in zip(*(firsts for firsts, _ in found), strict=True)] == [1] * 100
    assert sum(within for _, within in found) == 150


def test_a_token_stays_used_over_a_new_start(url: str) -> None:
    end = time.time() + 300
    assert open_store(Settings(store_url=url)).first_use("a", "1", end)
    assert not open_store(Settings(store_url=url)).first_use("a", "1", end)


def test_a_token_from_before_the_store_was_made_may_have_been_used(store: Store, clock: Clock) -> None:
    assert not store.first_use("a", "1", clock.now + 300, clock.now - 1)
    assert store.first_use("a", "2", clock.now + 300, clock.now)


def test_a_token_that_was_used_passes_no_second_time_after_the_store_is_lost(
    store: Store, engine: Engine, clock: Clock
) -> None:
    issued = clock.now
    assert store.first_use("a", "1", issued + 300, issued)
    clock.now += 5
    drop(engine)
    assert not Store(engine, clock).first_use("a", "1", issued + 300, issued)


def test_a_token_that_was_used_passes_no_second_time_after_the_clock_is_set_back(store: Store, clock: Clock) -> None:
    issued = clock.now
    assert store.first_use("a", "1", issued + 300, issued)
    clock.now += 700
    assert store.is_ready()
    clock.now = issued + 10
    assert not store.first_use("a", "1", issued + 300, issued)


@pytest.mark.parametrize("years", [1, 30])
def test_a_clock_that_was_far_ahead_for_a_moment_locks_nobody_out(engine: Engine, clock: Clock, years: int) -> None:
    """While a running store is cleared, and while a store is made."""
    today = clock.now
    clock.now += years * 31_536_000
    assert Store(engine, clock).is_ready()
    clock.now = today
    store = Store(engine, clock)
    assert store.first_use("a", "1", today + 300, today)
    clock.now += years * 31_536_000
    assert store.is_ready()
    clock.now = today + 20
    assert store.first_use("a", "2", today + 320, today + 20)


def test_the_key_of_the_ids_of_cards_is_made_once_and_is_no_other_stores(tmp_path: Path, url: str) -> None:
    key = open_store(Settings(store_url=url)).card_key
    assert len(key) == 64
    assert open_store(Settings(store_url=url)).card_key == key
    assert open_store(Settings(store_url=f"sqlite:///{tmp_path}/other.sqlite")).card_key != key


def drop(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE seen_tokens")
        connection.exec_driver_sql("DROP TABLE calls_in_window")
        connection.exec_driver_sql("DROP TABLE store_state")


def hold(engine: Engine) -> None:
    other = engine.connect()
    HELD.append(other)
    if engine.dialect.name == "sqlite":
        other.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("LOCK TABLE seen_tokens, calls_in_window")


def assert_refuses(store: Store) -> None:
    with pytest.raises(ServiceUnavailable) as refused:
        store.first_use("a", "secret", time.time() + 300)
    assert refused.value.headers["Retry-After"] == "5"
    assert "secret" not in str(refused.value)
    with pytest.raises(ServiceUnavailable):
        store.within("a", 1, 5)
    assert not store.is_ready()


@pytest.mark.parametrize("fault", [drop, hold])
def test_a_store_that_fails_is_503_and_not_ready(
    fault: Callable[[Engine], None], url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_WAIT_SECONDS", 0.05)
    engine = engine_for(url)
    store = Store(engine, clock)
    assert store.is_ready()
    fault(engine)
    try:
        # What holds it goes on to.
        assert_refuses(store)
    finally:
        while HELD:
            held = HELD.pop()
            held.exec_driver_sql("ROLLBACK")
            held.close()


def test_a_file_that_is_overwritten_is_503_and_not_ready(tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/store.sqlite")
    store = Store(engine)
    assert store.is_ready()
    engine.dispose()
    for file in tmp_path.iterdir():
        file.write_bytes(b"no database " * 1000)
    assert_refuses(store)


def test_a_call_that_has_its_answer_is_not_refused_because_old_rows_cannot_be_removed(
    store: Store, engine: Engine, clock: Clock
) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE calls_in_window")
    clock.now += 61
    assert store.first_use("a", "1", clock.now + 300)
    assert not store.is_ready()


def test_old_tokens_that_another_host_is_removing_are_left_to_it(postgresql: Postgresql, clock: Clock) -> None:
    engine = engine_for(postgresql.url)
    store = Store(engine, clock)
    store.first_use("a", "1", clock.now)
    store.first_use("a", "2", clock.now)
    clock.now += 400
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("SELECT * FROM seen_tokens ORDER BY key LIMIT 1 FOR UPDATE")
        assert store.is_ready()
        assert len(rows(engine, "seen_tokens")) == 1
        other.exec_driver_sql("ROLLBACK")
    assert store.is_ready()
    assert rows(engine, "seen_tokens") == []


def test_a_store_that_takes_no_writes_is_not_ready_and_lets_nobody_in(postgresql: Postgresql) -> None:
    open_store(Settings(store_url=postgresql.url))
    read_only = open_store(Settings(store_url=f"{postgresql.url}&options=-c%20default_transaction_read_only%3Don"))
    assert_refuses(read_only)


def test_a_database_user_who_may_make_no_tables_suffices_once_they_are_there(postgresql: Postgresql) -> None:
    open_store(Settings(store_url=postgresql.url))
    postgresql.execute("DROP ROLE IF EXISTS sitbone")
    postgresql.execute("CREATE ROLE sitbone LOGIN")
    postgresql.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON seen_tokens, calls_in_window, store_state TO sitbone")
    try:
        store = open_store(Settings(store_url=postgresql.url.replace("postgres@", "sitbone@")))
        assert store.is_ready()
        assert store.first_use("a", "1", time.time() + 300)
        assert [store.within("a", 1, 1) for _ in range(2)] == [True, False]
    finally:
        postgresql.execute("DROP OWNED BY sitbone")


def test_a_database_that_comes_back_is_used_again_at_once_and_has_forgotten_nothing(postgresql: Postgresql) -> None:
    store = open_store(Settings(store_url=postgresql.url))
    end = time.time() + 300
    assert store.first_use("a", "1", end)
    for _ in range(2):
        postgresql.stop()
        assert_refuses(store)
        postgresql.start()
        assert not store.first_use("a", "1", end)
        assert store.within("a", 1, 5)
        assert store.is_ready()
    assert store.first_use("a", "2", end)


def test_connections_that_were_cut_while_nobody_called_cost_no_call(postgresql: Postgresql) -> None:
    store = open_store(Settings(store_url=postgresql.url))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: store.first_use("a", str(n), time.time() + 300), range(40)))
    postgresql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )
    assert all(store.first_use("b", str(n), time.time() + 300) for n in range(10))


@contextlib.contextmanager
def nobody_answering() -> Iterator[int]:
    """The port of a listener that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_silent_database_is_not_waited_for_long_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_TRIES", 1)
    # It never answers: a start that waited for it would not come back.
    with (
        nobody_answering() as port,
        pytest.raises(SettingsError, match="SITBONE_STORE_URL must name a database"),
    ):
        open_store(Settings(store_url=f"postgresql+psycopg://user:secret@127.0.0.1:{port}/db"))


def test_what_the_url_says_of_patience_goes_before_what_the_service_says() -> None:
    engine = engine_for("postgresql+psycopg://host/db?connect_timeout=7")
    assert dict(engine.url.query) == {"connect_timeout": "7", "tcp_user_timeout": "2000"}


@pytest.fixture
def site(postgresql: Postgresql, tmp_path: Path) -> dict[str, str]:
    """The settings of a host that shares PostgreSQL, and in the folder the client's key."""
    key = new_key("ES384", "mine")
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(key)))
    clients = tmp_path / "clients.toml"
    clients.write_text(f'[clients.a]\nissuers = ["{ISSUER}"]\njwks_file = "jwks.json"\ncalls_per_minute = 7\n')
    return {
        "SITBONE_CLIENTS": str(clients),
        "SITBONE_DRAFT": "show",
        "SITBONE_STORE_URL": postgresql.url,
        "SITBONE_PUBLIC_BASE_URL": BASE,
    }


def token(folder: Path) -> dict[str, str]:
    key = json.loads((folder / "key.json").read_text())
    return {"Authorization": f"Bearer {sign(key, claims_for(ISSUER, f'{BASE}/cds-services', time.time()))}"}


def test_while_the_database_is_away_the_gate_lets_nobody_in_and_readiness_says_so(
    postgresql: Postgresql, site: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Not above: the processes that are started with this module need none of it, and it takes long.
    from service.app import create_app  # noqa: PLC0415

    settings = Settings(
        draft="show", clients=Path(site["SITBONE_CLIENTS"]), store_url=site["SITBONE_STORE_URL"], public_base_url=BASE
    )
    client = create_app(settings).test_client()
    used = token(tmp_path)
    assert client.get("/cds-services", headers=used).status_code == 200
    assert client.get("/readyz").status_code == 200
    postgresql.stop()
    fresh = token(tmp_path)
    for headers in (used, fresh):
        refused = client.get("/cds-services", headers=headers)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
    not_ready = client.get("/readyz")
    assert not_ready.status_code == 503
    assert "store" in not_ready.get_json()["issue"][0]["diagnostics"]
    assert client.get("/healthz").status_code == 200
    postgresql.start()
    assert client.get("/readyz").status_code == 200
    assert client.get("/cds-services", headers=used).status_code == 401
    assert client.get("/cds-services", headers=fresh).status_code == 200
    assert "OperationalError" in caplog.text
    assert postgresql.url.rpartition("=")[2] not in caplog.text


def test_a_token_is_good_for_one_call_and_the_rate_is_one_rate_on_all_hosts_together(
    repository: Path, site: dict[str, str], tmp_path: Path
) -> None:
    while time.time() % 60 > 45:
        time.sleep(0.5)
    with (
        running(repository, **site) as (one, _),
        running(repository, **site) as (other, _),
        ThreadPoolExecutor(8) as pool,
    ):

        def call(number: int, headers: dict[str, str]) -> int:
            return status(f"{one if number % 2 else other}/cds-services", headers)

        same = token(tmp_path)
        replayed = list(pool.map(lambda number: call(number, same), range(16)))
        fresh = list(pool.map(lambda number: call(number, token(tmp_path)), range(16)))
    assert sorted(replayed) == [200] + [401] * 15
    assert sorted(fresh) == [200] * 6 + [429] * 10


def test_the_store_holds_no_connection_until_it_is_used(url: str) -> None:
    store = open_store(Settings(store_url=url))
    assert store._engine.pool.checkedin() == 0  # type: ignore[attr-defined]


def test_without_a_setting_the_store_is_a_folder_of_this_user_for_this_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_store(Settings(port=9000))
    folder = tmp_path / "sitbone-9000"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "store.sqlite").is_file()
    open_store(Settings(port=9000))


@pytest.mark.parametrize("trap", ["link", "open", "readable", "file"])
def test_a_folder_that_somebody_else_could_have_laid_out_is_refused(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "sitbone-8080"
    if trap == "link":
        (tmp_path / "goal").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "goal")
    elif trap == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "readable":
        folder.mkdir(mode=0o750)
    else:
        folder.write_text("")
    with pytest.raises(SettingsError, match=r"SITBONE_STORE .*must name"):
        open_store(Settings())


@pytest.mark.parametrize("mode", [None, 0o644])
def test_the_files_of_store_and_record_are_closed_to_others_always(mode: int | None, tmp_path: Path) -> None:
    for name in ("store.sqlite", "record.sqlite") if mode else ():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode or 0)
    store = open_store(Settings(store=tmp_path))
    assert store.first_use("a", "1", time.time() + 300)
    audit = open_audit(Settings(store=tmp_path))
    assert audit is not None
    with audit.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_calls SET at = 0")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    audit.engine.dispose()
    assert {"store.sqlite", "record.sqlite", "record.sqlite-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65_534, 65_534)
    with pytest.raises(SettingsError, match=r"SITBONE_STORE .*must name"):
        open_store(Settings(store=tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/secret.sqlite",
        "nodatabase://user:secret@host/db",
        "postgresql+nodriver://user:secret@host/db",
        "mysql+pymysql://user:secret@host/db",
        "postgresql+psycopg://user:secret@/db?host=/nowhere/at/all",
        "sqlite://user:secret@host/db",
    ],
)
def test_a_database_that_cannot_be_used_ends_the_start_without_its_address(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(Settings(store_url=url))
    assert str(refused.value).startswith("SITBONE_STORE_URL ")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql+psycopg://user:secret@host/db", "psycopg"),
        ("postgresql://user:secret@host/db", "psycopg"),
        ("postgresql+psycopg2://user:secret@host/db", "psycopg2"),
        ("postgresql+nodriver://user:secret@host/db", "nodriver"),
    ],
)
def test_a_missing_driver_is_named_and_how_to_get_one(url: str, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError) as refused:
        open_store(Settings(store_url=url))
    assert f"needs the database driver {driver}, which" in str(refused.value)
    assert "install psycopg[binary]" in str(refused.value)


def test_the_file_of_sqlite_may_be_named_by_a_url(tmp_path: Path) -> None:
    store = open_store(Settings(store_url=f"sqlite:///{tmp_path}/other.sqlite"))
    assert store.first_use("a", "1", time.time() + 300)
    assert (tmp_path / "other.sqlite").is_file()


def test_a_check_is_one_statement_to_the_database(url: str, clock: Clock) -> None:
    engine = engine_for(url)
    store = Store(engine, clock)
    assert store.is_ready()
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for number in range(3):
        store.first_use("a", str(number), clock() + 300)
        store.within("a", number, 10)
    assert len(statements) == 6
