"""The store: whatever happens, a token is used once and a rate is one rate."""

import multiprocessing
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine

from cds_hooks import ServiceUnavailable
from service.settings import Settings, SettingsError
from service.store import Store, open_store


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path}/store.sqlite", isolation_level="AUTOCOMMIT")
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine, clock: Clock) -> Store:
    return Store(engine, clock)


def rows(folder: Path, table: str) -> list[Any]:
    connection = sqlite3.connect(folder / "store.sqlite")
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - a table of ours
    finally:
        connection.close()


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


def test_of_a_token_only_a_digest_is_kept(store: Store, clock: Clock, tmp_path: Path) -> None:
    store.first_use("https://secret.example.org/", "secret-jti", clock.now + 300)
    [(key, _)] = rows(tmp_path, "seen_tokens")
    assert len(key) == 64
    assert b"secret" not in (tmp_path / "store.sqlite").read_bytes()


def test_what_has_expired_is_forgotten_and_nothing_else(store: Store, clock: Clock, tmp_path: Path) -> None:
    store.first_use("a", "old", clock.now + 30.5)
    store.first_use("a", "young", clock.now + 300)
    store.within("c", int(clock.now) // 60, 5)
    clock.now += 30.6
    assert not store.first_use("a", "old", clock.now)
    clock.now += 100
    store.first_use("a", "another", clock.now + 300)
    assert len(rows(tmp_path, "seen_tokens")) == 2
    assert not store.first_use("a", "young", clock.now)
    assert rows(tmp_path, "calls_in_window") == []


def test_calls_are_counted_by_client_and_window_up_to_the_limit(store: Store) -> None:
    assert [store.within("a", 1, 3) for _ in range(5)] == [True, True, True, False, False]
    assert store.within("b", 1, 3)
    assert store.within("a", 2, 3)
    assert not store.within("a", 3, 0)


def test_a_changed_limit_holds_at_once(store: Store) -> None:
    assert [store.within("a", 1, 2) for _ in range(3)] == [True, True, False]
    assert store.within("a", 1, 3)


def in_a_process(folder: str, results: Any) -> None:
    store = open_store(Settings(store=Path(folder)))
    end = time.time() + 300
    firsts = sum(store.first_use("a", str(number), end) for number in range(200))
    within = sum(store.within("a", 1, 150) for _ in range(200))
    results.put((firsts, within))


def test_workers_that_share_the_store_agree(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=in_a_process, args=(str(tmp_path), results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sum(firsts for firsts, _ in found) == 200
    assert sum(within for _, within in found) == 150


def test_a_token_stays_used_over_a_new_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    end = time.time() + 300
    assert open_store(Settings(store=tmp_path)).first_use("a", "1", end)
    assert not open_store(Settings(store=tmp_path)).first_use("a", "1", end)


def drop(engine: Engine, _: Path) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE seen_tokens")
        connection.exec_driver_sql("DROP TABLE calls_in_window")


def destroy(engine: Engine, folder: Path) -> None:
    engine.dispose()
    (folder / "store.sqlite").write_bytes(b"no database " * 1000)


def hold(engine: Engine, _: Path) -> None:
    other = engine.connect()
    other.exec_driver_sql("BEGIN IMMEDIATE")
    HELD.append(other)


HELD: list[Any] = []


@pytest.mark.parametrize("fault", [drop, destroy, hold])
def test_a_store_that_fails_is_503_and_not_ready(
    fault: Callable[[Engine, Path], None], tmp_path: Path, clock: Clock
) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path}/store.sqlite", isolation_level="AUTOCOMMIT", connect_args={"timeout": 0.05}
    )
    store = Store(engine, clock)
    assert store.is_ready()
    fault(engine, tmp_path)
    try:
        with pytest.raises(ServiceUnavailable) as refused:
            store.first_use("a", "secret", clock.now + 300)
        assert refused.value.headers["Retry-After"] == "5"
        assert "secret" not in str(refused.value)
        with pytest.raises(ServiceUnavailable):
            store.within("a", 1, 5)
        assert not store.is_ready()
    finally:
        while HELD:
            HELD.pop().close()
        engine.dispose()


def test_the_store_holds_no_connection_until_it_is_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = open_store(Settings(store=tmp_path))
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


@pytest.mark.parametrize("trap", ["link", "open", "file"])
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
    else:
        folder.write_text("")
    with pytest.raises(SettingsError, match="SITBONE_STORE must name"):
        open_store(Settings())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65_534, 65_534)
    with pytest.raises(SettingsError, match="SITBONE_STORE must name"):
        open_store(Settings(store=tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/secret.sqlite",
        "nodatabase://user:secret@host/db",
        "postgresql+nodriver://user:secret@host/db",
        "sqlite://user:secret@host/db",
    ],
)
def test_a_database_that_cannot_be_used_ends_the_start_without_its_address(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(Settings(store_url=url))
    assert str(refused.value).startswith("SITBONE_STORE_URL ")
    assert "secret" not in str(refused.value)


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(SettingsError, match="needs the database driver"):
        open_store(Settings(store_url="mysql+pymysql://user:secret@host/db"))


def test_any_database_url_may_be_set(tmp_path: Path) -> None:
    store = open_store(Settings(store_url=f"sqlite:///{tmp_path}/other.sqlite"))
    assert store.first_use("a", "1", time.time() + 300)
    assert (tmp_path / "other.sqlite").is_file()


def test_a_check_costs_far_less_than_a_millisecond(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = open_store(Settings(store=tmp_path))
    took = []
    for number in range(300):
        start = time.perf_counter()
        store.first_use("a", str(number), time.time() + 300)
        took.append(time.perf_counter() - start)
    assert sorted(took)[150] < 0.001
