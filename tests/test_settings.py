"""Settings: read once, checked at start, refused with a sentence."""

import re
from pathlib import Path

import pytest

from cds_hooks.text_forms import is_loopback
from service.settings import _FIELDS, FORMER_NAMES, Settings, SettingsError


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_environment({"HOME": "/home/somebody"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "member", "read"),
    [
        ("SITBONE_HOST", "0.0.0.0", "host", "0.0.0.0"),  # noqa: S104
        ("SITBONE_HOST", "::1", "host", "::1"),
        ("PORT", "9000", "port", 9000),
        ("SITBONE_PORT", " 9000 ", "port", 9000),
        ("SITBONE_PORT", "65535", "port", 65_535),
        ("SITBONE_PORT", "", "port", 8080),
        ("SITBONE_WORKERS", "4", "workers", 4),
        ("SITBONE_THREADS", "1", "threads", 1),
        ("SITBONE_MAX_IN_FLIGHT", "4", "max_in_flight", 4),
        ("SITBONE_LOG_KEY", "0123456789abcdef", "log_key", "0123456789abcdef"),
        ("SITBONE_WORKER_CLASS", "sync", "worker_class", "sync"),
        ("SITBONE_KEEP_ALIVE", "0", "keep_alive", 0),
        ("SITBONE_BODY_LIMIT", "1000", "body_limit", 1000),
        ("SITBONE_ALLOWED_ORIGINS", "*", "allowed_origins", ("*",)),
        (
            "SITBONE_ALLOWED_ORIGINS",
            "https://ehr.example.org, http://localhost:3000/",
            "allowed_origins",
            ("https://ehr.example.org", "http://localhost:3000"),
        ),
        ("SITBONE_PUBLIC_BASE_URL", "https://cds.example.org/pain/", "public_base_url", "https://cds.example.org/pain"),
        ("SITBONE_PUBLIC_BASE_URL", "http://sitbone:8080", "public_base_url", "http://sitbone:8080"),
        ("SITBONE_SNOMED_CT", "global-patient-set", "snomed_ct", "global-patient-set"),
        ("SITBONE_LOG_LEVEL", "debug", "log_level", "debug"),
        ("SITBONE_STORE_URL", "postgresql+psycopg://host/db", "store_url", "postgresql+psycopg://host/db"),
        ("SITBONE_AUDIT", "off", "audit", "off"),
        ("SITBONE_AUDIT_URL", "postgresql+psycopg://host/db", "audit_url", "postgresql+psycopg://host/db"),
        ("SITBONE_AUDIT_DAYS", "730", "audit_days", 730),
        ("SITBONE_SUPPRESSION_DAYS", "14", "suppression_days", 14),
        ("SITBONE_TRUSTED_PROXIES", "2", "trusted_proxies", 2),
        ("SITBONE_PAGES", "off", "pages", "off"),
        ("SITBONE_METRICS_TOKEN", "0123456789abcdef", "metrics_token", "0123456789abcdef"),
    ],
)
def test_a_variable_sets_its_member_and_no_other(variable: str, value: str, member: str, read: object) -> None:
    settings = Settings.from_environment({variable: value})

    assert getattr(settings, member) == read
    others = {name: getattr(settings, name) for name in Settings.__slots__ if name != member}
    assert others == {name: getattr(Settings(), name) for name in others}


def test_a_path_that_is_there_is_taken(tmp_path: Path) -> None:
    (file := tmp_path / "clients.toml").touch()

    assert Settings.from_environment({"SITBONE_KNOWLEDGE_DIR": str(tmp_path)}).knowledge_dir == tmp_path
    assert Settings.from_environment({"SITBONE_STORE": str(tmp_path)}).store == tmp_path
    assert Settings.from_environment({"SITBONE_AUDIT": str(tmp_path)}).audit == tmp_path
    assert Settings.from_environment({"SITBONE_CLIENTS": str(file)}).clients == file


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.5", False),
        ("::ffff:10.0.0.5", False),
        ("localhost.example.org", False),
        ("sitbone", False),
    ],
)
def test_a_loopback_host_is_one_that_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_specific_port_wins_over_the_general_one() -> None:
    assert Settings.from_environment({"PORT": "9000", "SITBONE_PORT": "9001"}).port == 9001


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("SITBONE_HOST", "http://secret", "text"),
        ("PORT", "0", "a whole number"),
        ("PORT", "secret", "text"),
        ("SITBONE_PORT", "65536", "a whole number"),
        ("SITBONE_PORT", "80.5", "text"),
        ("SITBONE_WORKERS", "0", "a whole number"),
        ("SITBONE_WORKERS", "65", "a whole number"),
        ("SITBONE_THREADS", "many", "text"),
        ("SITBONE_MAX_IN_FLIGHT", "0", "a whole number"),
        ("SITBONE_LOG_KEY", "secret", "text"),
        ("SITBONE_WORKER_CLASS", "asgi", "text"),
        ("SITBONE_KEEP_ALIVE", "-1", "a whole number"),
        ("SITBONE_BODY_LIMIT", "999", "a whole number"),
        ("SITBONE_ALLOWED_ORIGINS", "ehr.example.org", "text"),
        ("SITBONE_ALLOWED_ORIGINS", "https://ehr.example.org/path", "text"),
        ("SITBONE_ALLOWED_ORIGINS", "https://*.example.org", "text"),
        ("SITBONE_ALLOWED_ORIGINS", "*,https://ehr.example.org", "text"),
        ("SITBONE_ALLOWED_ORIGINS", "https://ehr.example.org,", "text"),
        ("SITBONE_PUBLIC_BASE_URL", "cds.example.org", "text"),
        ("SITBONE_PUBLIC_BASE_URL", "ftp://cds.example.org", "text"),
        ("SITBONE_PUBLIC_BASE_URL", "https://cds.example.org/?secret", "text"),
        ("SITBONE_SNOMED_CT", "some", "text"),
        ("SITBONE_LOG_LEVEL", "loud", "text"),
        ("SITBONE_KNOWLEDGE_DIR", "/secret/folder", "text"),
        ("SITBONE_CLIENTS", "/secret/clients.toml", "text"),
        ("SITBONE_STORE", "/secret/folder", "text"),
        ("SITBONE_STORE_URL", "user:secret@host", "text"),
        ("SITBONE_AUDIT", "/secret/folder", "text"),
        ("SITBONE_AUDIT_URL", "user:secret@host", "text"),
        ("SITBONE_AUDIT_DAYS", "-1", "a whole number"),
        ("SITBONE_SUPPRESSION_DAYS", "366", "a whole number"),
        ("SITBONE_TRUSTED_PROXIES", "11", "a whole number"),
        ("SITBONE_PAGES", "yes", "text"),
        ("SITBONE_METRICS_TOKEN", "secret", "text"),
    ],
)
def test_a_wrong_value_is_refused_with_variable_type_and_what_is_expected(variable: str, value: str, kind: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({variable: value})

    assert re.fullmatch(f"{variable} is {kind} and must be [^.]+(\\.[^. ]+)*\\.", str(refused.value))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("SITBONE_PROT", "SITBONE_PROT is not a setting; is SITBONE_PORT meant?"),
        ("SITBONE_QQQQQQQQQQ", "SITBONE_QQQQQQQQQQ is not a setting."),
    ],
)
def test_an_unknown_variable_of_ours_is_refused_and_the_nearest_is_named(variable: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(says)}$"):
        Settings.from_environment({variable: ""})


@pytest.mark.parametrize(("former", "new"), FORMER_NAMES.items())
@pytest.mark.parametrize("value", ["", "30"])
def test_the_former_name_of_a_setting_ends_the_start_and_says_the_new_one(former: str, new: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{former} is called {new} now: set it under that name\\.$"):
        Settings.from_environment({former: value})
    assert new in _FIELDS


def test_the_addresses_that_kubernetes_gives_to_pods_are_no_settings() -> None:
    environ = {
        "SITBONE_PORT": "tcp://10.0.0.11:8080",
        "SITBONE_PORT_8080_TCP": "tcp://10.0.0.11:8080",
        "SITBONE_PORT_8080_TCP_ADDR": "10.0.0.11",
        "SITBONE_SERVICE_HOST": "10.0.0.11",
        "SITBONE_SERVICE_PORT": "8080",
        "SITBONE_SERVICE_PORT_HTTP": "8080",
    }

    assert Settings.from_environment(environ) == Settings()
