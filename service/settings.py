"""The settings of the service: environment variables, read once and checked at start.

``Settings.from_environment`` is the only reader. What it refuses ends the start, with one sentence that names the
variable, its value and what it must be. A member of `Settings` that is marked `repr=False` is secret, and what it was
set to is said nowhere.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import URL, OneOf, Range, Regexp

from cds_hooks.text_forms import is_loopback

# Kubernetes gives the address of a Service that is called "sitbone" to every pod, in variables of these names. They are
# nobody's typing mistake, and a start that they ended would be hard to explain.
_SERVICE_LINK = re.compile(r"SITBONE_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP)\w*)")
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp)://")

# 32 bytes in the base64 of URLs, as `Fernet.generate_key` makes them.
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
_ID = re.compile(r"[a-z0-9-]+")
_ORIGIN = re.compile(r"\*|https?://[^/\s?#@*]+")
_WEB_ADDRESS = URL(schemes={"http", "https"}, require_tld=False)
# A password has its place before an @, a token in the query or the fragment of an address.
_MAY_HOLD_A_SECRET = re.compile(r"@|://.*[?#]")
_SHOWN_CHARACTERS = 120


class SettingsError(Exception):
    """A setting is wrong. The text is one sentence for the person who starts the service."""


def shown(value: object, *, secret: bool = False) -> str:
    """A value as an error repeats it: in one line, cut where it is long, and never what is or may hold a secret."""
    text = json.dumps(value, default=str)
    if secret:
        return "a secret, which is not shown here,"
    if _MAY_HOLD_A_SECRET.search(text):
        return "something with an @ or a query, which may hold a secret and is not shown here,"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


# What settings were called before, and are called now.
FORMER_NAMES = {
    "SITBONE_RECORD": "SITBONE_AUDIT",
    "SITBONE_RECORD_URL": "SITBONE_AUDIT_URL",
    "SITBONE_RECORD_DAYS": "SITBONE_AUDIT_DAYS",
    "SITBONE_HOLD_BACK_DAYS": "SITBONE_SUPPRESSION_DAYS",
}

# The EHRs whose way with answers is known; see profiles.py.
EHR_PROFILES = ("generic", "epic", "oracle-health")
# How much a card says: what is read in five seconds, or the whole depth.
DETAILS = ("short", "full")
# Whose words stand on cards and in orders.
SPELLINGS = ("us", "uk")
# Whether clients get answers, or their calls are assessed and recorded alone; see release/mode.py.
MODES = ("live", "silent")
# What becomes of recommendations that are drafts: they are shown as such, are silent, or keep it from starting.
SHOW, SILENT, REFUSE = DRAFTS = ("show", "silent", "refuse")


@dataclass(frozen=True, slots=True)
class Style:
    """How a client likes its answers.

    ehr: one of EHR_PROFILES; detail: how much a card says, one of DETAILS; extensions: whether there
    are any, for some client libraries refuse a response or a card that has one; spelling: one of SPELLINGS;
    preference_list: for Epic, the code of each order, by its key and its side ("" for any).
    """

    ehr: str = EHR_PROFILES[0]
    detail: str = DETAILS[0]
    extensions: bool = True
    spelling: str = "us"
    preference_list: Mapping[tuple[str, str], str] = field(default_factory=dict, hash=False)


AS_IT_IS = Style()


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process serves. Sizes are in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 8
    max_in_flight: int = 32
    worker_class: str = "gthread"
    keep_alive: int = 2
    body_limit: int = 10_000_000
    allowed_origins: tuple[str, ...] = ("*",)
    public_base_url: str | None = None
    card_problems: str | None = None
    # How answers are put for a caller who needs no entry among the clients.
    ehr: str = "generic"
    detail: str = "short"
    extensions: str = "on"
    spelling: str = "us"
    preference_list: Path | None = None
    snomed_ct: str = "all"
    log_level: str = "info"
    log_key: str | None = field(default=None, repr=False)
    card_key: str | None = field(default=None, repr=False)
    fhir_access: str = "on"
    fetch_milliseconds: int = 1_500
    knowledge_dir: Path | None = None
    order_codes: Path | None = None
    # What the site expects of its calls; see service/audit/expectations.py.
    expectations: Path | None = None
    # A second knowledge that is asked about the same calls after their answers, and about how many in a hundred.
    shadow_dir: Path | None = None
    shadow_share: int = 100
    # What the site says of the hazard log.
    hazards: Path | None = None
    pama_rating: str = "off"
    adaptive_form: str = "off"
    features: str = "off"
    clients: Path | None = None
    mode: str = MODES[0]
    # None: shown, where there is no file of clients; beside one it has to be said.
    draft: str | None = None
    # Ids of recommendations that are assessed and recorded, and not said.
    silent: tuple[str, ...] | None = None
    store: Path | None = None
    store_url: str | None = field(default=None, repr=False)
    audit: Path | Literal["off"] | None = None
    audit_url: str | None = field(default=None, repr=False)
    # How many days the audit trail goes back, and a card is suppressed after an override; 0 is without end, and never.
    audit_days: int = 0
    suppression_days: int = 0
    trusted_proxies: int = 0
    # Who may sign the knowledge, and where the signatures lie if not in its folder; see service/release.
    signers: Path | None = None
    signatures: Path | None = None
    review_grace_days: int = 90
    time_zone: tzinfo = UTC
    pages: str = "auto"
    demo: str = "off"
    metrics_token: str | None = field(default=None, repr=False)
    # The first encrypts what the page of the second opinion holds for the browser, all of them decrypt it.
    app_keys: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def style(self) -> Style:
        """How a caller who needs no entry among the clients likes its answers; without what is in files."""
        return Style(self.ehr, self.detail, self.extensions == "on", self.spelling)

    def is_trial(self) -> bool:
        """Whether everybody who can reach the service may call: on this machine alone, or it is the demo."""
        return self.clients is None and (is_loopback(self.host) or self.demo == "on")

    def shows_pages(self) -> bool:
        """Whether the service can be tried in a browser; of itself only where it is there to be tried."""
        return self.is_trial() if self.pages == "auto" else self.pages == "on"

    def shows_metrics(self) -> bool:
        """Whether there are metrics to read: for everybody where it is tried, otherwise for who has the token."""
        return self.metrics_token is not None or self.is_trial()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the ``SITBONE_*`` variables, and ``PORT`` where ``SITBONE_PORT`` is not set.

        A variable that is set but empty counts as not set. What is secret may stand in a file, which the variable with
        ``_FILE`` behind its name names.

        Raises:
            SettingsError: a value is not what it must be, or a ``SITBONE_*`` variable is not a setting.
        """
        given = {}
        for variable, value in environ.items():
            if variable in _FIELDS:
                if value.strip():
                    given[variable] = value.strip()
            elif secret := _FILES.get(variable):
                if value.strip():
                    given[secret] = _read_secret(variable, value.strip(), environ.get(secret))
            elif new := FORMER_NAMES.get(variable):
                raise SettingsError(f"{variable} is called {new} now: set it under that name.")
            elif variable.startswith("SITBONE_") and not _SERVICE_LINK.fullmatch(variable):
                close = difflib.get_close_matches(variable, _FIELDS, n=1)
                raise SettingsError(f"{variable} is not a setting" + (f"; is {close[0]} meant?" if close else "."))
        if _SERVICE_LINK_VALUE.match(given.get("SITBONE_PORT", "")):
            del given["SITBONE_PORT"]
        port = "PORT" if "SITBONE_PORT" not in given else "SITBONE_PORT"
        if "PORT" in environ and port == "PORT" and environ["PORT"].strip():
            given["SITBONE_PORT"] = environ["PORT"].strip()
        try:
            return cls(**_SCHEMA.load(given))
        except ValidationError as error:
            variable = next(iter(error.messages_dict))
            value = shown(given[variable], secret=_FIELDS[variable].name in _SECRETS)
            raise SettingsError(
                f"{port if variable == 'SITBONE_PORT' else variable} is {value}"
                f" and must be {_FIELDS[variable].metadata['expected']}."
            ) from None


def _read_secret(variable: str, path: str, beside: str | None) -> str:
    """What is in the file that this variable names."""
    if beside and beside.strip():
        raise SettingsError(f"{variable} and {variable.removesuffix('_FILE')} are both set: set one of them.")
    try:
        secret = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not text"
        raise SettingsError(f"{variable} is {shown(path)} and must be a file that can be read: {why}.") from None
    if not secret:
        raise SettingsError(f"{variable} is {shown(path)} and must be a file with the secret in it: it is empty.")
    return secret


_SECRETS = frozenset(each.name for each in dataclasses.fields(Settings) if not each.repr)


def _read_origins(value: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/") for origin in value.split(","))
    if not all(_ORIGIN.fullmatch(origin) for origin in origins) or ("*" in origins and len(origins) > 1):
        raise ValidationError("not a list of origins")
    return origins


def _read_app_keys(value: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(","))
    if not all(map(_FERNET_KEY.fullmatch, keys)):
        raise ValidationError("not a list of keys")
    return keys


def _read_ids(value: str) -> tuple[str, ...]:
    ids = tuple(id_.strip() for id_ in value.split(","))
    if not all(map(_ID.fullmatch, ids)):
        raise ValidationError("not a list of ids")
    return ids


def _read_folder(value: str) -> Path:
    folder = Path(value)
    if not folder.is_dir():
        raise ValidationError("not a folder")
    return folder


def _read_folder_or_off(value: str) -> Path | str:
    return value if value == "off" else _read_folder(value)


def _read_file(value: str) -> Path:
    file = Path(value)
    if not file.is_file():
        raise ValidationError("not a file")
    return file


def _read_zone(value: str) -> tzinfo:
    try:
        return ZoneInfo(value) if value != "UTC" else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError("not a time zone") from None


def _read_base_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValidationError("more than a base")
    return _WEB_ADDRESS(value).rstrip("/")


def _read_form(value: str) -> str:
    if not value.startswith("https://") or "#" in value:
        raise ValidationError("no https address without a fragment")
    return _WEB_ADDRESS(value)


def _database_url(data_key: str) -> fields.String:
    return fields.String(
        data_key=data_key,
        validate=Regexp(r"[a-z0-9]+(\+[a-z0-9_]+)?://"),
        metadata={"expected": "the SQLAlchemy URL of a database, as in postgresql+psycopg://host/database"},
    )


def _key(data_key: str) -> fields.String:
    return fields.String(
        data_key=data_key,
        validate=Regexp(r"[!-~]{16,64}\Z"),
        metadata={"expected": "16 to 64 letters, digits and signs that nobody can guess, the same on every host"},
    )


def _file(data_key: str) -> fields.Function:
    expected = "the path of a file that is there"
    return fields.Function(deserialize=_read_file, data_key=data_key, metadata={"expected": expected})


def _folder(data_key: str) -> fields.Function:
    expected = "a folder that is there"
    return fields.Function(deserialize=_read_folder, data_key=data_key, metadata={"expected": expected})


def _on_or_off(data_key: str, what: str) -> fields.String:
    return fields.String(data_key=data_key, validate=OneOf(["on", "off"]), metadata={"expected": f"on or off: {what}"})


def _one_of(data_key: str, values: Sequence[str]) -> fields.String:
    expected = f"one of {', '.join(values)}"
    return fields.String(data_key=data_key, validate=OneOf(values), metadata={"expected": expected})


def _whole_number(data_key: str, least: int, most: int, of: str = "", *, zero: str = "") -> fields.Integer:
    """A count of something; `zero` says what nothing of it means."""
    lowest = f"{least} ({zero})" if zero else str(least)
    return fields.Integer(
        data_key=data_key,
        validate=Range(least, most),
        metadata={"expected": " ".join(filter(None, ("a whole number", of, f"from {lowest} to {most}")))},
    )


class _SettingsSchema(Schema):
    host = fields.String(
        data_key="SITBONE_HOST",
        validate=Regexp(r"[^\s/]+\Z"),
        metadata={"expected": "a host name or an IP address to listen on"},
    )
    port = _whole_number("SITBONE_PORT", 1, 65_535)
    workers = _whole_number("SITBONE_WORKERS", 1, 64, "of processes")
    threads = _whole_number("SITBONE_THREADS", 1, 64, "of threads in each process")
    max_in_flight = _whole_number("SITBONE_MAX_IN_FLIGHT", 1, 1_000, "of calls that a process has in flight at once,")
    worker_class = fields.String(
        data_key="SITBONE_WORKER_CLASS",
        validate=OneOf(["gthread", "sync"]),
        metadata={"expected": "gthread (threads, for calls that may fetch) or sync (one call at a time)"},
    )
    keep_alive = _whole_number("SITBONE_KEEP_ALIVE", 0, 600, "of seconds", zero="close after each answer")
    body_limit = _whole_number("SITBONE_BODY_LIMIT", 1_000, 1_000_000_000, "of bytes")
    allowed_origins = fields.Function(
        deserialize=_read_origins,
        data_key="SITBONE_ALLOWED_ORIGINS",
        metadata={"expected": "* or web origins with commas between them, as in https://ehr.example.org"},
    )
    public_base_url = fields.Function(
        deserialize=_read_base_url,
        data_key="SITBONE_PUBLIC_BASE_URL",
        metadata={"expected": "the http or https address at which clients find the service, without query"},
    )
    card_problems = fields.Function(
        deserialize=_read_form,
        data_key="SITBONE_CARD_PROBLEMS",
        metadata={"expected": "the https address of the site's own page that takes what is wrong with a card"},
    )
    ehr = _one_of("SITBONE_EHR", EHR_PROFILES)
    detail = _one_of("SITBONE_DETAIL", DETAILS)
    extensions = _on_or_off("SITBONE_EXTENSIONS", "whether answers have extensions where no file of clients says so")
    spelling = _one_of("SITBONE_SPELLING", SPELLINGS)
    preference_list = _file("SITBONE_PREFERENCE_LIST")
    snomed_ct = fields.String(
        data_key="SITBONE_SNOMED_CT",
        validate=OneOf(["all", "global-patient-set"]),
        metadata={"expected": "all or global-patient-set"},
    )
    log_level = fields.String(
        data_key="SITBONE_LOG_LEVEL",
        validate=OneOf(["debug", "info", "warning", "error"]),
        metadata={"expected": "debug, info, warning or error"},
    )
    log_key = _key("SITBONE_LOG_KEY")
    card_key = _key("SITBONE_CARD_KEY")
    fhir_access = _on_or_off(
        "SITBONE_FHIR_ACCESS", "whether what the prefetch lacks is fetched from the caller's FHIR server"
    )
    fetch_milliseconds = _whole_number("SITBONE_FETCH_MILLISECONDS", 10, 10_000, "of milliseconds")
    knowledge_dir = _folder("SITBONE_KNOWLEDGE_DIR")
    expectations = _file("SITBONE_EXPECTATIONS")
    shadow_dir = _folder("SITBONE_SHADOW_DIR")
    shadow_share = _whole_number("SITBONE_SHADOW_SHARE", 1, 100, "of calls in a hundred")
    order_codes = _file("SITBONE_ORDER_CODES")
    hazards = _file("SITBONE_HAZARDS")
    pama_rating = _on_or_off(
        "SITBONE_PAMA_RATING", "whether signed orders carry their rating where no file of clients says so"
    )
    adaptive_form = _on_or_off(
        "SITBONE_ADAPTIVE_FORM", "whether form fillers can have the questions as an adaptive form under /fhir"
    )
    features = _on_or_off("SITBONE_FEATURES", "whether POST /features gives what was read from a chart as FHIR")
    clients = _file("SITBONE_CLIENTS")
    mode = _one_of("SITBONE_MODE", MODES)
    draft = _one_of("SITBONE_DRAFT", DRAFTS)
    silent = fields.Function(
        deserialize=_read_ids,
        data_key="SITBONE_SILENT",
        metadata={"expected": "ids of recommendations with commas between them"},
    )
    store = _folder("SITBONE_STORE")
    store_url = _database_url("SITBONE_STORE_URL")
    audit = fields.Function(
        deserialize=_read_folder_or_off,
        data_key="SITBONE_AUDIT",
        metadata={"expected": "a folder that is there, or off"},
    )
    audit_url = _database_url("SITBONE_AUDIT_URL")
    audit_days = _whole_number("SITBONE_AUDIT_DAYS", 0, 36_500, "of days", zero="keep everything")
    suppression_days = _whole_number("SITBONE_SUPPRESSION_DAYS", 0, 365, "of days", zero="suppress nothing")
    trusted_proxies = _whole_number(
        "SITBONE_TRUSTED_PROXIES", 0, 10, "of proxies", zero="believe no X-Forwarded-* header"
    )
    signers = _file("SITBONE_SIGNERS")
    signatures = _folder("SITBONE_SIGNATURES")
    review_grace_days = _whole_number("SITBONE_REVIEW_GRACE_DAYS", 0, 3_650, "of days", zero="a draft at once")
    time_zone = fields.Function(
        deserialize=_read_zone,
        data_key="SITBONE_TIME_ZONE",
        metadata={"expected": "the name of a time zone that this machine knows, as in Europe/Berlin"},
    )
    pages = fields.String(
        data_key="SITBONE_PAGES",
        validate=OneOf(["auto", "on", "off"]),
        metadata={"expected": "auto (on loopback without a file of clients, and in the demo), on or off"},
    )
    demo = _on_or_off("SITBONE_DEMO", "whether everybody may try the service, with made-up patients alone")
    metrics_token = fields.String(
        data_key="SITBONE_METRICS_TOKEN",
        validate=Regexp(r"[A-Za-z0-9._~+/-]{16,256}=*\Z"),
        metadata={"expected": "a bearer token of 16 to 256 letters, digits and signs that nobody can guess"},
    )
    app_keys = fields.Function(
        deserialize=_read_app_keys,
        data_key="SITBONE_APP_KEYS",
        metadata={"expected": "keys of 32 random bytes in base64url, 44 characters each, with commas between them"},
    )


_SCHEMA = _SettingsSchema()
_FIELDS = {str(field.data_key): field for field in _SCHEMA.fields.values()}
# As images of databases have it: what must not stand in an environment stands in a file.
_FILES = {f"{variable}_FILE": variable for variable, field in _FIELDS.items() if field.name in _SECRETS}
