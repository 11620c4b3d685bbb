"""clients.toml: what an entry may say, and what a mistake in it is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.trust import KeySetError, read_key_set
from cds_hooks.trust.signing import key_set, new_key
from service.access import clients as service_clients
from service.access.clients import Client, ClientsError, directory, read_clients
from service.service_ids import DIAGNOSIS, DIAGNOSIS_ENCOUNTER

GOOD = 'issuers = ["https://ehr.example.org/"]\njku = "https://ehr.example.org/jwks.json"\n'
Read = Callable[[str], Client]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(new_key("ES384", "mine"))))
    return tmp_path / "clients.toml"


@pytest.fixture
def read(file: Path) -> Read:
    def read_one(members: str) -> Client:
        file.write_text(f"[clients.general]\n{members}")
        return read_clients(file, ["pain", "imaging"])["general"]

    return read_one


def test_an_entry_needs_an_issuer_and_keys_and_has_defaults_for_the_rest(read: Read) -> None:
    client = read(GOOD)
    trusted = client.trusted
    assert (trusted.name, trusted.issuers, trusted.jku) == (
        "general",
        ("https://ehr.example.org/",),
        "https://ehr.example.org/jwks.json",
    )
    assert (trusted.algorithms, trusted.skew, trusted.lifetime) == (("ES384", "RS384"), 60, 300)
    assert (trusted.audiences, trusted.services, trusted.tenants, trusted.calls_per_minute) == ((), (), (), None)
    assert (client.fhir_servers, client.style.ehr, client.internal_hosts, client.jwks_file) == (
        (),
        "generic",
        frozenset(),
        None,
    )


def test_an_entry_may_list_what_its_client_never_sends(read: Read) -> None:
    assert read(GOOD).never_sends == frozenset()
    assert read(f'{GOOD}never_sends = ["encounter", "allergies"]\n').never_sends == {"encounter", "allergies"}
    for wrong in ('["patient"]', '["observations2"]', '"encounter"'):
        with pytest.raises(ClientsError, match="never_sends"):
            read(f"{GOOD}never_sends = {wrong}\n")


def test_an_entry_may_say_all_that_is_said_of_a_client(read: Read, file: Path) -> None:
    client = read(
        """
        issuers = ["https://a.example.org", "urn:oid:1.2.3"]
        jku = "https://a.example.org/jwks"
        jwks_file = "jwks.json"
        audiences = ["sitbone"]
        services = ["pain"]
        tenants = ["t1", "t2"]
        algorithms = ["RS256", "PS384"]
        skew = 0
        lifetime = 3600
        calls_per_minute = 600
        fhir_servers = ["https://fhir.a.example.org/r4", "https://ehr.lan:8443/fhir"]
        ehr = "epic"
        internal_hosts = ["ehr.lan"]
        """.replace("RS256", "ES384")
    )
    assert client.trusted.algorithms == ("ES384", "PS384")
    assert client.trusted.tenants == ("t1", "t2")
    assert client.trusted.lifetime == 3600
    assert client.jwks_file == file.parent / "jwks.json"
    assert client.fhir_servers == ("https://fhir.a.example.org/r4", "https://ehr.lan:8443/fhir")
    assert (client.style.ehr, client.internal_hosts) == ("epic", frozenset({"ehr.lan"}))


@pytest.mark.parametrize(
    ("members", "key", "reason"),
    [
        ('jku = "https://a.example.org/"', "issuers", "is missing, and must be a list of the iss values"),
        ('issuers = []\njku = "https://a.example.org/"', "issuers", "must be a list of the iss values"),
        ('issuers = "https://a.example.org/"', "issuers", "must be a list of the iss values"),
        ('issuers = [7]\njku = "https://a.example.org/"', "issuers", "must be a list of the iss values"),
        ('issuers = [""]\njku = "https://a.example.org/"', "issuers", "must be a list of the iss values"),
        ('issuers = ["a b"]\njku = "https://a.example.org/"', "issuers", "must be a list of the iss values"),
        ('issuers = ["a", "a"]\njku = "https://a.example.org/"', "issuers", 'names "a" twice'),
        ('issuers = ["a"]', "jwks_file", "is missing, and so is jku"),
        ('issuers = ["a"]\njku = "http://a.example.org/"', "jku", "must be https"),
        ('issuers = ["a"]\njku = "http://127.0.0.1/"', "jku", "must be https"),
        ('issuers = ["a"]\njku = "http://a.lan/"\ninternal_hosts = ["a.lan"]', "jku", "must be https"),
        ('issuers = ["a"]\njku = "ftp://a.example.org/"', "jku", "must be the https URL"),
        ('issuers = ["a"]\njku = "https://u:p@a.example.org/"', "jku", "must be the https URL"),
        ('issuers = ["a"]\njku = "a.example.org"', "jku", "must be the https URL"),
        ('issuers = ["a"]\njku = 7', "jku", "must be the https URL"),
        ('issuers = ["a"]\njwks_file = ""', "jwks_file", "must be the path of a file"),
        ('issuers = ["a"]\njwks_file = "nothing.json"', "jwks_file", "cannot be read"),
        ('issuers = ["a"]\njwks_file = "clients.toml"', "jwks_file", "is not JSON"),
        (GOOD + 'issuer = "b"', "issuer", "is no key of a client; is issuers meant?"),
        (GOOD + "xyz = 1", "xyz", "is no key of a client."),
        (GOOD + 'preference_list = "list.csv"', "preference_list", 'is of no use without ehr = "epic"'),
        (GOOD + 'algorithms = ["HS256"]', "algorithms", "must be a list with some of ES384, RS384"),
        (GOOD + 'algorithms = ["none"]', "algorithms", "must be a list with some of"),
        (GOOD + "algorithms = []", "algorithms", "must be a list with some of"),
        (GOOD + "skew = -1", "skew", "must be a whole number of seconds from 0 to 300"),
        (GOOD + "skew = 301", "skew", "is 301 and must be a whole number of seconds from 0 to 300"),
        (GOOD + 'skew = "60"', "skew", 'is "60" and must be a whole number of seconds'),
        (GOOD + "lifetime = 0", "lifetime", "must be a whole number of seconds from 1 to 3600"),
        (GOOD + "lifetime = 3601", "lifetime", "must be a whole number of seconds"),
        (GOOD + "calls_per_minute = 0", "calls_per_minute", "must be a whole number from 1"),
        (GOOD + "calls_per_minute = 1.5", "calls_per_minute", "must be a whole number from 1"),
        (GOOD + 'pama_rating = "yes"', "pama_rating", "must be true or false"),
        (GOOD + 'ehr = "cerner"', "ehr", 'is "cerner" and must be one of generic, epic, oracle-health'),
        (GOOD + "services = []", "services", "must be a list of ids of CDS services, one at least"),
        (GOOD + 'services = ["gain"]', "services", 'names "gain", which is not one of pain, imaging'),
        (GOOD + "tenants = []", "tenants", "must be a list of tenant values, one at least"),
        (
            GOOD + 'fhir_servers = ["a.example.org"]',
            "fhir_servers",
            'has "a.example.org" in it and must be a list of base URLs',
        ),
        (
            GOOD + 'fhir_servers = ["http://a.example.org/"]',
            "fhir_servers",
            'has "http://a.example.org/" in it and must be https',
        ),
        (
            GOOD + 'internal_hosts = ["other.lan"]',
            "internal_hosts",
            'names "other.lan", which is neither the host of jku',
        ),
        (GOOD + 'internal_hosts = ["https://ehr.example.org"]', "internal_hosts", "must be a list of host names"),
        (GOOD + 'internal_hosts = ["EHR.example.org"]', "internal_hosts", "must be a list of host names"),
    ],
)
def test_a_mistake_ends_the_start_with_file_key_and_reason(
    members: str, key: str, reason: str, read: Read, file: Path
) -> None:
    with pytest.raises(ClientsError) as refused:
        read(members)
    assert str(refused.value).startswith(f"{file}: clients.general.{key}: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must hold one table"),
        ("clients = 7", "must hold one table"),
        ("[clients]", "must hold one table"),
        (f"[clients.a]\n{GOOD}[other]\nx = 1", "must hold one table"),
        ("[clients]\na = 7", "must be a table"),
        (f'[clients."A b"]\n{GOOD}', "a name of small letters"),
        (f"[clients.a]\n{GOOD}[clients.a]\n{GOOD}", "is not TOML"),
        ("[clients.a", "is not TOML"),
        (
            f"[clients.a]\n{GOOD}[clients.b]\n{GOOD}",
            'clients.b.issuers: names "https://ehr.example.org/", which a names already',
        ),
    ],
)
def test_a_file_that_is_no_list_of_clients_is_refused(text: str, reason: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ClientsError) as refused:
        read_clients(file)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(f"{file}: ")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClientsError, match="cannot be read: No such file"):
        read_clients(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(ClientsError, match="is not TOML"):
        read_clients(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"d": "AQAB"}, "mine is a key with private or secret members"),
        ({"use": "enc"}, "mine is a key that is not for signatures"),
        ({"alg": "RS256"}, "mine is a key of a type or for an algorithm that is not accepted"),
        ({"kid": None}, "no key has a kid"),
    ],
)
def test_a_file_of_keys_without_a_usable_one_is_refused(
    changes: dict[str, Any], why: str, read: Read, file: Path
) -> None:
    public = key_set(new_key("ES384", "mine"))["keys"][0]
    (file.parent / "jwks.json").write_text(json.dumps({"keys": [public | changes]}))
    with pytest.raises(ClientsError) as refused:
        read('issuers = ["a"]\njwks_file = "jwks.json"')
    assert f'jwks_file: is "jwks.json", which holds no usable key: {why}' in str(refused.value)


def test_keys_come_from_the_file_where_there_is_one_and_are_read_again_when_it_changes(read: Read, file: Path) -> None:
    client = read(f'{GOOD}jwks_file = "jwks.json"')
    found = directory({"general": client}).find("https://ehr.example.org/")
    assert found is not None
    assert found.keys.is_ready()
    assert found.keys.find("mine", "ES384")
    (file.parent / "jwks.json").write_text(json.dumps(key_set(new_key("ES384", "new"))))
    assert list(read_key_set(client.load_keys()).keys) == ["new"]
    (file.parent / "jwks.json").unlink()
    with pytest.raises(KeySetError, match="cannot be read"):
        client.load_keys()


@pytest.mark.parametrize(
    ("members", "internal"),
    [
        ('jku = "https://ehr.lan/jwks"\ninternal_hosts = ["ehr.lan"]', True),
        ('jku = "https://EHR.lan/jwks"\ninternal_hosts = ["ehr.lan"]', True),
        ('jku = "https://ehr.lan/jwks"', False),
        (
            'jku = "https://ehr.example.org/jwks"\nfhir_servers = ["https://ehr.lan/"]\ninternal_hosts = ["ehr.lan"]',
            False,
        ),
        ('jku = "http://127.0.0.1:9/jwks"\ninternal_hosts = ["127.0.0.1"]', True),
        ('jku = "http://[::1]:9/jwks"\ninternal_hosts = ["::1"]', True),
    ],
)
def test_only_a_host_that_is_listed_as_internal_may_have_an_internal_address(
    members: str, internal: bool, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def load(_url: str, *, allow_internal: bool) -> bytes:
        asked.append(allow_internal)
        return b'{"keys": []}'

    monkeypatch.setattr(service_clients, "load_from", load)
    read(f'issuers = ["a"]\n{members}').load_keys()
    assert asked == [internal]


def test_the_example_file_can_be_used_once_its_keys_are_there(repository: Path, tmp_path: Path) -> None:
    text = (repository / "clients.example.toml").read_text()
    (tmp_path / "county-clinic-jwks.json").write_text(json.dumps(key_set(new_key("RS384", "mine"))))
    (tmp_path / "clients.toml").write_text(text)
    found = read_clients(tmp_path / "clients.toml", [DIAGNOSIS, DIAGNOSIS_ENCOUNTER])
    assert {client.style.ehr for client in found.values()} == {"generic", "epic", "oracle-health"}


APP = """
fhir_servers = ["https://fhir.example.org/r4"]
[clients.general.app]
client_id = "sitbone"
"""


@pytest.mark.parametrize(
    ("members", "key", "reason"),
    [
        ("", "iss", "is missing, and must be the FHIR base URL"),
        (
            'iss = "https://other.example.org"\nauth = "public"',
            "iss",
            'is "https://other.example.org", which is not one of fhir_servers',
        ),
        ('iss = "https://fhir.example.org/r4"', "key_file", "is missing, and auth = private_key_jwt needs it"),
        ('iss = "https://fhir.example.org/r4"\nkey_file = "none.json"', "key_file", "cannot be read"),
        ('iss = "https://fhir.example.org/r4"\nkey_file = "clients.toml"', "key_file", "is not JSON"),
        ('iss = "https://fhir.example.org/r4"\nkey_file = "jwks.json"', "key_file", "must hold a private JWK"),
        (
            'iss = "https://fhir.example.org/r4"\nauth = "public"\nkey_file = "jwks.json"',
            "key_file",
            "is of no use with auth = public",
        ),
        (
            'iss = "https://fhir.example.org/r4"\nauth = "secret"',
            "auth",
            'is "secret" and must be one of private_key_jwt',
        ),
        (
            'iss = "https://fhir.example.org/r4"\nauth = "public"\nframe_origins = ["http://ehr.example.org"]',
            "frame_origins",
            "must be a list of https origins",
        ),
        (
            'iss = "https://fhir.example.org/r4"\nauth = "public"\nframe_origins = ["https://*.example.org"]',
            "frame_origins",
            "must be a list of https origins",
        ),
        (
            'iss = "https://fhir.example.org/r4"\nauth = "public"\nwrite = ["Condition"]',
            "write",
            "must be a list with some of QuestionnaireResponse, Observation",
        ),
        ('iss = "https://fhir.example.org/r4"\nauth = "public"\nscope = "x"', "scope", "is scopes meant?"),
    ],
)
def test_a_mistake_in_the_entry_of_an_app_is_told_with_its_key(read: Read, members: str, key: str, reason: str) -> None:
    with pytest.raises(ClientsError) as problem:
        read(GOOD + APP + members)
    assert f"clients.general.app.{key}: " in str(problem.value)
    assert reason in str(problem.value)


def test_an_app_says_what_the_client_may_call(file: Path) -> None:
    text = (
        f"[clients.general]\n{GOOD}services = ['imaging']\n{APP}iss = 'https://fhir.example.org/r4'\nauth = 'public'\n"
    )
    file.write_text(text)
    with pytest.raises(ClientsError, match="says what gluteal-hamstring-pain says"):
        read_clients(file)


def test_two_clients_cannot_be_launched_from_one_fhir_server(file: Path) -> None:
    app = f"{APP}iss = 'https://fhir.example.org/r4/'\nauth = 'public'\n"
    other = f"[clients.other]\n{GOOD.replace('ehr.example', 'else.example')}{app.replace('general', 'other')}"
    file.write_text(f"[clients.general]\n{GOOD}{app}{other}")
    with pytest.raises(ClientsError, match="is the iss of general already"):
        read_clients(file)


@pytest.mark.parametrize(
    ("members", "key"),
    [
        (
            f"{APP}iss = 'https://fhir.example.org/r4'\nauth = 'client_secret_basic'\nsecret_file = 'opensesame'",
            "secret_file",
        ),
        (
            f"{APP}iss = 'https://fhir.example.org/r4'\nauth = 'client_secret_basic'\nsecret_file = ['opensesame']",
            "secret_file",
        ),
        (f"{APP}iss = 'https://fhir.example.org/r4'\nkey_file = ['opensesame']", "key_file"),
        (f"{APP}iss = 'https://fhir.example.org/r4'\nsecret = 'opensesame'", "secret"),
        ("fhir_servers = ['https://user:opensesame@fhir.example.org/r4']", "fhir_servers"),
        ("fhir_servers = ['http://fhir.example.org/r4?key=opensesame']", "fhir_servers"),
    ],
)
def test_a_mistake_is_told_without_what_is_or_may_be_a_secret(members: str, key: str, read: Read) -> None:
    with pytest.raises(ClientsError) as refused:
        read(GOOD + members)
    assert f".{key}: " in str(refused.value)
    assert "sesame" not in str(refused.value)
