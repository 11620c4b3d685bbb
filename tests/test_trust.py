"""Who may call the product: the file of clients, the store and the settings put together, and the running service."""

import http.server
import json
import logging
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.access.clients import ClientsError
from service.app import create_app
from service.settings import Settings, SettingsError
from tests import preloaded
from tests.serving import running, status

SERVICE = "gluteal-hamstring-pain"
BASE = "https://cds.example.org/pain"
ISSUER = "https://ehr.example.org/"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def key() -> Json:
    return new_key("ES384", "mine")


class Site:
    """A folder with clients.toml, keys and store, and the tokens of its client."""

    def __init__(self, folder: Path, key: Json) -> None:
        self.folder, self.key = folder, key
        self.file = folder / "clients.toml"
        (folder / "jwks.json").write_text(json.dumps(key_set(key)))
        (folder / "store").mkdir(mode=0o700)
        self.write()

    def write(self, keys: str = 'jwks_file = "jwks.json"', more: str = "") -> None:
        self.file.write_text(f'[clients.general]\nissuers = ["{ISSUER}"]\n{keys}\n{more}')

    def settings(self, **changes: Any) -> Settings:
        return Settings(
            **{
                "draft": "show",
                "clients": self.file,
                "store": self.folder / "store",
                "public_base_url": BASE,
                "threads": 2,
                **changes,
            }
        )

    def headers(self, audience: str, now: float = NOW.timestamp(), jku: str | None = None) -> dict[str, str]:
        token = sign(self.key, claims_for(ISSUER, audience, now), **({"jku": jku} if jku else {}))
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


@pytest.fixture
def site(tmp_path: Path, key: Json) -> Site:
    return Site(tmp_path, key)


@pytest.fixture
def body() -> bytes:
    """A call whose chart arrived whole and has nothing in it but the patient."""
    services = json.loads(create_app(Settings()).test_client().get("/cds-services").data)["services"]
    keys = next(each["prefetch"] for each in services if each["id"] == SERVICE)
    patient = {"resourceType": "Patient", "id": "p1", "birthDate": "1980-01-01"}
    request = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/7", "patientId": "p1"},
        "prefetch": {**dict.fromkeys(keys), "patient": patient},
    }
    return json.dumps(request).encode()


def test_a_call_with_a_token_is_answered_and_its_log_line_names_the_client(
    site: Site, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = create_app(site.settings(), lambda: NOW).test_client()
    headers = site.headers(f"{BASE}/cds-services/{SERVICE}")
    with caplog.at_level(logging.INFO, logger="sitbone"):
        answer = client.post(f"/cds-services/{SERVICE}", data=body, headers=headers)
        again = client.post(f"/cds-services/{SERVICE}", data=body, headers=headers)

    assert answer.status_code == 200
    assert again.status_code == 401
    assert [record.members["client"] for record in caplog.records if hasattr(record, "members")] == ["general"]
    assert headers["Authorization"].rpartition(".")[2] not in caplog.text


def test_with_a_file_of_clients_nothing_of_the_protocol_is_open_and_health_is(site: Site, body: bytes) -> None:
    client = create_app(site.settings(), lambda: NOW).test_client()
    assert client.get("/cds-services").status_code == 401
    assert client.post(f"/cds-services/{SERVICE}", data=body, content_type="application/json").status_code == 401
    assert client.post(f"/cds-services/{SERVICE}/feedback", json={"feedback": []}).status_code == 401
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/cds-services", headers=site.headers(f"{BASE}/cds-services")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "sitbone.example.org"])  # noqa: S104
def test_without_a_file_of_clients_only_this_machine_is_listened_to(host: str, site: Site) -> None:
    with pytest.raises(SettingsError, match=r"set SITBONE_CLIENTS .* or listen on 127"):
        create_app(Settings(host=host))
    create_app(site.settings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_without_a_file_of_clients_this_machine_is_served_as_it_is(host: str, body: bytes) -> None:
    client = create_app(Settings(host=host)).test_client()
    assert client.get("/cds-services").status_code == 200
    assert client.post(f"/cds-services/{SERVICE}", data=body, content_type="application/json").status_code == 200


def test_a_service_that_is_not_published_cannot_be_allowed(site: Site) -> None:
    site.write(more='services = ["gluteal-hamstring-gain"]')
    with pytest.raises(ClientsError, match='names "gluteal-hamstring-gain", which is not one of'):
        create_app(site.settings())


def test_the_rate_of_the_file_holds(site: Site, body: bytes) -> None:
    site.write(more="calls_per_minute = 2")
    client = create_app(site.settings(), lambda: NOW).test_client()

    def call() -> int:
        headers = site.headers(f"{BASE}/cds-services/{SERVICE}")
        return client.post(f"/cds-services/{SERVICE}", data=body, headers=headers).status_code

    assert [call() for _ in range(4)] == [200, 200, 429, 429]


def test_a_store_that_fails_lets_nobody_in_and_is_not_ready(site: Site, body: bytes) -> None:
    app = create_app(site.settings(), lambda: NOW)
    connection = sqlite3.connect(site.folder / "store" / "store.sqlite")
    connection.executescript("DROP TABLE seen_tokens;")
    connection.close()
    headers = site.headers(f"{BASE}/cds-services/{SERVICE}")
    answer = app.test_client().post(f"/cds-services/{SERVICE}", data=body, headers=headers)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert app.test_client().get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        (0, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cds.example.org", "X-Forwarded-Prefix": "/pain"}, 401),
        (1, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cds.example.org", "X-Forwarded-Prefix": "/pain"}, 200),
        (1, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cds.example.org, evil.example.org"}, 401),
        (1, {"Forwarded": "host=cds.example.org;proto=https"}, 401),
    ],
)
def test_forwarded_headers_count_only_where_a_proxy_is_trusted(
    proxies: int, forwarded: Mapping[str, str], status: int, site: Site
) -> None:
    settings = site.settings(public_base_url=None, trusted_proxies=proxies)
    client = create_app(settings, lambda: NOW).test_client()
    headers = {**site.headers(f"{BASE}/cds-services"), **forwarded}
    assert client.get("/cds-services", headers=headers).status_code == status


class KeyServer(http.server.ThreadingHTTPServer):
    """Publishes a JWK Set on the loopback address."""

    def __init__(self) -> None:
        self.keys: Json = {"keys": []}
        self.status = 200
        self.calls = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            server: KeyServer

            def do_GET(self) -> None:
                self.server.calls += 1
                text = json.dumps(self.server.keys).encode()
                self.send_response(self.server.status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/jwks.json"


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.shutdown()
    server.server_close()


def test_keys_are_fetched_from_the_registered_url_and_from_no_other(site: Site, key_server: KeyServer) -> None:
    key_server.keys = key_set(site.key)
    site.write(f'jku = "{key_server.url}"', 'internal_hosts = ["127.0.0.1"]')
    client = create_app(site.settings(), lambda: NOW).test_client()

    def discover(jku: str | None) -> int:
        return client.get("/cds-services", headers=site.headers(f"{BASE}/cds-services", jku=jku)).status_code

    assert discover(f"{key_server.url}?x") == 401
    assert key_server.calls == 0
    assert discover(key_server.url) == 200
    assert discover(None) == 200
    assert key_server.calls == 1


def test_where_a_file_has_the_keys_no_token_can_have_others_fetched(site: Site, key_server: KeyServer) -> None:
    key_server.keys = key_set(site.key)
    client = create_app(site.settings(), lambda: NOW).test_client()
    headers = site.headers(f"{BASE}/cds-services", jku=key_server.url)
    assert client.get("/cds-services", headers=headers).status_code == 200
    assert key_server.calls == 0


def test_where_a_file_has_the_keys_and_a_jku_is_registered_a_token_names_that_one(site: Site) -> None:
    site.write('jwks_file = "jwks.json"', 'jku = "https://ehr.example.org/jwks.json"')
    client = create_app(site.settings(), lambda: NOW).test_client()
    for jku, status_ in (("https://ehr.example.org/jwks.json", 200), (None, 200), ("https://evil.example.org/", 401)):
        assert client.get("/cds-services", headers=site.headers(f"{BASE}/cds-services", jku=jku)).status_code == status_


def test_a_key_server_that_fails_is_503_until_it_answers(site: Site, key_server: KeyServer) -> None:
    key_server.status = 500
    site.write(f'jku = "{key_server.url}"', 'internal_hosts = ["127.0.0.1"]')
    client = create_app(site.settings(), lambda: NOW).test_client()
    answer = client.get("/cds-services", headers=site.headers(f"{BASE}/cds-services"))
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert client.get("/readyz").status_code == 503


def test_readiness_waits_for_the_keys_of_one_client_at_least(site: Site, key_server: KeyServer) -> None:
    key_server.keys = key_set(site.key)
    site.write(f'jku = "{key_server.url}"', 'internal_hosts = ["127.0.0.1"]')
    client = create_app(site.settings(), lambda: NOW).test_client()
    assert client.get("/readyz").status_code == 503
    end = time.monotonic() + 5
    while client.get("/readyz").status_code != 200 and time.monotonic() < end:
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 200


def test_a_token_is_good_for_one_call_of_all_workers_and_none_after_a_new_start(
    repository: Path, site: Site, body: bytes
) -> None:
    variables = {
        "SITBONE_CLIENTS": str(site.file),
        "SITBONE_DRAFT": "show",
        "SITBONE_STORE": str(site.folder / "store"),
        "SITBONE_PUBLIC_BASE_URL": BASE,
    }
    with running(repository, **variables) as (base, stop):
        headers = site.headers(f"{BASE}/cds-services/{SERVICE}", time.time())

        def call(_: int) -> int:
            return status(f"{base}/cds-services/{SERVICE}", headers, body)

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(call, range(24)))
        log = stop()
    with running(repository, **variables) as (base, _):
        assert status(f"{base}/cds-services/{SERVICE}", headers, body) == 401

    assert sorted(found) == [200] + [401] * 23
    signature = headers["Authorization"].rpartition(".")[2]
    assert signature not in log
    assert "general" in log


def test_a_rate_is_that_of_all_workers_together(repository: Path, site: Site, body: bytes) -> None:
    site.write(more="calls_per_minute = 10")
    variables = {
        "SITBONE_CLIENTS": str(site.file),
        "SITBONE_DRAFT": "show",
        "SITBONE_STORE": str(site.folder / "store"),
        "SITBONE_PUBLIC_BASE_URL": BASE,
    }
    while time.time() % 60 > 50:
        time.sleep(0.5)
    with running(repository, **variables) as (base, _), ThreadPoolExecutor(8) as pool:

        def call(_: int) -> int:
            headers = site.headers(f"{BASE}/cds-services/{SERVICE}", time.time())
            return status(f"{base}/cds-services/{SERVICE}", headers, body)

        found = list(pool.map(call, range(24)))

    assert sorted(found) == [200] * 10 + [429] * 14


def test_a_token_over_the_limit_is_refused_with_a_reason_and_not_by_the_server(repository: Path, site: Site) -> None:
    variables = {
        "SITBONE_CLIENTS": str(site.file),
        "SITBONE_DRAFT": "show",
        "SITBONE_STORE": str(site.folder / "store"),
    }
    with running(repository, **variables) as (base, stop):
        request = urllib.request.Request(f"{base}/cds-services", headers={"Authorization": f"Bearer {'x' * 9000}"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value as answer:
            assert answer.code == 401
            assert "at most 8192 characters" in json.load(answer)["issue"][0]["diagnostics"]
        forged = site.headers(f"{base}/cds-services", time.time()) | {"X-Forwarded-Proto": "https"}
        assert status(f"{base}/cds-services", forged) == 200
        log = stop()
    assert "SITBONE_PUBLIC_BASE_URL is not set" in log


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"SITBONE_HOST": "0.0.0.0"}, 'SITBONE_HOST is "0.0.0.0", no loopback address'),  # noqa: S104
        (
            {"SITBONE_CLIENTS": "wrong.toml", "SITBONE_DRAFT": "show"},
            "must hold one table [clients.<name>] for each client",
        ),
        (
            {
                "SITBONE_CLIENTS": "clients.toml",
                "SITBONE_DRAFT": "show",
                "SITBONE_STORE_URL": "mysql+pymysql://u:secret@h/d",
            },
            "SITBONE_STORE_URL",
        ),
    ],
)
def test_what_is_wrong_ends_the_start_with_one_sentence(
    variables: Mapping[str, str], says: str, repository: Path, site: Site
) -> None:
    (site.folder / "wrong.toml").touch()
    named = dict(variables)
    if "SITBONE_CLIENTS" in named:
        named["SITBONE_CLIENTS"] = str(site.folder / named["SITBONE_CLIENTS"])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")} | named
    ended = preloaded.run("serve", cwd=repository, env=environ)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr
