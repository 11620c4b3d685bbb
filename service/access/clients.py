"""The CDS clients that may call: clients.toml, read once and checked at start.

A mistake in it ends the start, with the file, the key and the reason. What of an entry the protocol needs is a
`cds_hooks.trust.TrustedClient`; the rest, such as the profile of the EHR, is the product's own.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import ContainsOnly, Length, OneOf, Range, Regexp

from cds_hooks.text_forms import is_loopback
from cds_hooks.trust import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    Directory,
    KeySetError,
    KeySource,
    Registration,
    TrustedClient,
    load_from,
    read_key_set,
)
from service.access.fhir_servers import host_of
from service.access.smart_app import APP_SCHEMA, Reason, SmartApp, read_smart_app
from service.prefetch_keys import SEARCHED
from service.service_ids import DIAGNOSIS, FORMER_IDS, with_current
from service.settings import DETAILS, EHR_PROFILES, MODES, SPELLINGS, SettingsError, Style, shown

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LINE = Regexp(r"[!-~]+\Z")
_HTTP_URL = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(?:/[!-~]*)?")


class ClientsError(SettingsError):
    """The file of clients cannot be used. The text is one sentence that names file, key and reason."""


@dataclass(frozen=True, slots=True)
class Client:
    """One entry: who calls, which FHIR servers of theirs may be read, and how their EHR likes its answers.

    `internal_hosts` are those of its hosts that may have a private or a loopback address; `preference_list` is the file
    with the codes under which its EHR places orders.
    """

    trusted: TrustedClient
    jwks_file: Path | None
    fhir_servers: tuple[str, ...]
    style: Style
    internal_hosts: frozenset[str]
    pama_rating: bool
    # The kinds of data that its calls never have.
    never_sends: frozenset[str]
    preference_list: Path | None = None
    # How the page of the second opinion is registered there, if it is.
    app: SmartApp | None = None
    # Whether it gets answers; None where it is as the site is.
    mode: str | None = None

    def may_be_internal(self, url: str) -> bool:
        """Whether the host of this URL may have a private or a loopback address."""
        return host_of(url) in self.internal_hosts

    def load_keys(self) -> bytes:
        """The JWK Set of this client as it is published now; raises KeySetError."""
        if self.jwks_file is not None:
            try:
                return self.jwks_file.read_bytes()
            except OSError as problem:
                raise KeySetError(f"the JWK Set cannot be read: {problem.strerror}") from None
        jku = self.trusted.jku or ""
        return load_from(jku, allow_internal=self.may_be_internal(jku))


def read_clients(file: Path, services: Collection[str] | None = None) -> Mapping[str, Client]:
    """The entries of `file` by name, which may name no other than these `services`; raises ClientsError.

    A former id stands for the services that it was the id of.
    A file of keys that an entry names must hold a usable one; what is behind a `jku` is left to the first call.
    """
    try:
        top = tomllib.loads(file.read_text("utf-8"))
    except OSError as problem:
        raise ClientsError(f"{file}: cannot be read: {problem.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ClientsError(f"{file}: is not TOML: {problem}.") from None
    entries = top.get("clients")
    if len(top) != 1 or not isinstance(entries, dict) or not entries:
        raise ClientsError(f"{file}: must hold one table [clients.<name>] for each client, and nothing else.")
    clients = {name: _client(file, name, members) for name, members in entries.items()}
    owners: dict[str, str] = {}
    launching: dict[str, str] = {}
    for name, client in clients.items():
        if client.app and client.trusted.services and DIAGNOSIS not in client.trusted.services:
            raise _wrong(file, name, "app", f"says what {DIAGNOSIS} says, and that is not one of services")
        if client.app and (other := launching.setdefault(client.app.iss, name)) != name:
            raise _wrong(file, name, "app.iss", f"is the iss of {other} already")
        for issuer in client.trusted.issuers:
            if issuer in owners:
                raise _wrong(file, name, "issuers", f"names {shown(issuer)}, which {owners[issuer]} names already")
            owners[issuer] = name
        for service in client.trusted.services:
            if services is not None and service not in services and service not in FORMER_IDS.values():
                raise _wrong(
                    file, name, "services", f"names {shown(service)}, which is not one of {', '.join(services)}"
                )
    return clients


def directory(clients: Mapping[str, Client]) -> Directory:
    """All clients with the sources of their keys, found by the issuer of a token; files of keys are read now."""
    registrations = []
    for name, client in clients.items():
        source = KeySource(name, client.load_keys, client.trusted.algorithms)
        if client.jwks_file is not None:
            source.load()
        registrations.append(Registration(client.trusted, source))
    return Directory(registrations)


def _client(file: Path, name: str, members: Any) -> Client:
    if not _NAME.fullmatch(name) or not isinstance(members, dict):
        raise ClientsError(f"{file}: clients.{name}: must be a table with a name of small letters, digits and hyphens.")
    try:
        entry = _SCHEMA.load(members)
    except ValidationError as problem:
        raise _wrong(file, name, *_reason(_SCHEMA, problem.messages_dict, members)) from None
    app = _app(file, name, entry.pop("app"), entry["fhir_servers"])
    own = ("jwks_file", "fhir_servers", "internal_hosts", "pama_rating", "never_sends", "preference_list", "mode")
    jwks_file, servers, hosts, pama_rating, never_sends, preference_list, mode = (entry.pop(key) for key in own)
    style = Style(entry.pop("ehr"), entry.pop("detail"), entry.pop("extensions") == "on", entry.pop("spelling"))
    entry["services"] = with_current(entry["services"])
    trusted: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    client = Client(
        TrustedClient(name, **trusted),
        file.parent / jwks_file if jwks_file else None,
        tuple(servers),
        style,
        frozenset(hosts),
        pama_rating,
        frozenset(never_sends),
        file.parent / preference_list if preference_list else None,
        app,
        mode,
    )
    if client.jwks_file is not None:
        try:
            found = read_key_set(client.load_keys(), client.trusted.algorithms)
        except KeySetError as problem:
            raise _wrong(file, name, "jwks_file", f"is {shown(jwks_file)}, which is of no use: {problem}") from None
        if not found.keys:
            why = "; ".join(f"{kid} is {reason}" for kid, reason in found.refused.items()) or "no key has a kid"
            raise _wrong(file, name, "jwks_file", f"is {shown(jwks_file)}, which holds no usable key: {why}")
    return client


def _app(file: Path, name: str, members: Any, fhir_servers: Sequence[str]) -> SmartApp | None:
    if members is None:
        return None
    try:
        app = read_smart_app(members, file.parent)
    except ValidationError as problem:
        key, reason = _reason(APP_SCHEMA, problem.messages_dict, members)
        raise _wrong(file, name, f"app.{key}", reason) from None
    if app.iss not in {server.removesuffix("/") for server in fhir_servers}:
        raise _wrong(
            file,
            name,
            "app.iss",
            f"is {shown(app.iss)}, which is not one of fhir_servers, from which the chart is read",
        )
    return app


def _reason(schema: Schema, messages: Mapping[str, Any], members: Mapping[str, Any]) -> tuple[str, str]:
    """The first key that is wrong, and why: what it is, unless its field is marked secret, and what it must be."""
    key = next(iter(messages))
    if key not in schema.fields:
        close = difflib.get_close_matches(key, schema.fields, n=1)
        return key, f"is no key of a client{f'; is {close[0]} meant?' if close else ''}"
    if isinstance(messages[key], list) and isinstance(messages[key][0], Reason):
        return key, messages[key][0]
    expected, secret = (schema.fields[key].metadata.get(each) for each in ("expected", "secret"))
    if key not in members:
        return key, f"is missing, and must be {expected}"
    value = members[key]
    if isinstance(messages[key], dict):
        at = next(iter(messages[key]))
        return key, f"has {shown(value[at], secret=bool(secret))} in it and must be {expected}"
    return key, f"is {shown(value, secret=bool(secret))} and must be {expected}"


def _wrong(file: Path, name: str, key: str, reason: str) -> ClientsError:
    return ClientsError(f"{file}: clients.{name}.{key}: {reason}.")


def _check_url(value: str) -> None:
    if not _HTTP_URL.fullmatch(value) or not host_of(value):
        raise ValidationError("not a web address")


_NEEDS_KEYS = Reason("is missing, and so is jku: one of the two must say where the client's keys are")
_NEEDS_HTTPS = "must be https; http is for a loopback host that internal_hosts names"
_NOT_A_HOST = "is neither the host of jku, nor of one of fhir_servers, nor one of app.auth_hosts"
_OF_EPIC = Reason('is of no use without ehr = "epic"')


def _one_of(values: Sequence[str]) -> fields.String:
    """One of these, the first where nothing is said."""
    expected = f"one of {', '.join(values)}"
    return fields.String(load_default=values[0], validate=OneOf(values), metadata={"expected": expected})


def _texts(expected: str, *, at_least: int = 0, **options: Any) -> fields.List[str]:
    return fields.List(
        fields.String(validate=options.pop("each", _LINE)),
        validate=Length(min=at_least),
        metadata={"expected": expected},
        **options,
    )


class _ClientSchema(Schema):
    issuers = _texts("a list of the iss values of its tokens, one at least", at_least=1, required=True)
    jku = fields.String(
        load_default=None, validate=_check_url, metadata={"expected": "the https URL of the client's JWK Set"}
    )
    jwks_file = fields.String(
        load_default=None,
        validate=Length(min=1),
        metadata={"expected": "the path of a file with the client's JWK Set, from the folder of this file"},
    )
    audiences = _texts("a list of audiences to accept beside the URL that is called", load_default=list)
    services = _texts("a list of ids of CDS services, one at least; all without it", at_least=1, load_default=list)
    tenants = _texts("a list of tenant values, one at least; all without it", at_least=1, load_default=list)
    algorithms = fields.List(
        fields.String(),
        load_default=lambda: list(DEFAULT_ALGORITHMS),
        validate=[Length(min=1), ContainsOnly(ALGORITHMS)],
        metadata={"expected": f"a list with some of {', '.join(ALGORITHMS)}"},
    )
    skew = fields.Integer(
        strict=True,
        load_default=60,
        validate=Range(0, 300),
        metadata={"expected": "a whole number of seconds from 0 to 300"},
    )
    lifetime = fields.Integer(
        strict=True,
        load_default=300,
        validate=Range(1, 3600),
        metadata={"expected": "a whole number of seconds from 1 to 3600"},
    )
    calls_per_minute = fields.Integer(
        strict=True,
        load_default=None,
        validate=Range(1, 1_000_000),
        metadata={"expected": "a whole number from 1 to 1000000"},
    )
    fhir_servers = _texts("a list of base URLs of FHIR servers", load_default=list, each=_check_url)
    ehr = _one_of(EHR_PROFILES)
    preference_list = fields.String(
        load_default=None,
        validate=Length(min=1),
        metadata={"expected": "the path of a file with the codes of its preference list, from the folder of this file"},
    )
    detail = _one_of(DETAILS)
    extensions = fields.String(load_default="on", validate=OneOf(["on", "off"]), metadata={"expected": "on or off"})
    spelling = _one_of(SPELLINGS)
    mode = fields.String(load_default=None, validate=OneOf(MODES), metadata={"expected": f"one of {', '.join(MODES)}"})
    pama_rating = fields.Boolean(
        load_default=False, truthy={True}, falsy={False}, metadata={"expected": "true or false"}
    )
    never_sends = fields.List(
        fields.String(validate=OneOf(SEARCHED)),
        load_default=list,
        metadata={"expected": f"a list with some of {', '.join(SEARCHED)}"},
    )
    app = fields.Dict(load_default=None, metadata={"expected": "a table"})
    internal_hosts = _texts("a list of host names in small letters", load_default=list, each=Regexp(r"[a-z0-9._:-]+\Z"))

    @validates_schema
    def check_relations(self, entry: Mapping[str, Any], **_: object) -> None:
        """What one key must be on account of another."""
        if not entry["jku"] and not entry["jwks_file"]:
            raise ValidationError(_NEEDS_KEYS, "jwks_file")
        if entry["preference_list"] and entry["ehr"] != "epic":
            raise ValidationError(_OF_EPIC, "preference_list")
        for key in ("issuers", "audiences", "services", "tenants", "fhir_servers"):
            if twice := [each for each in entry[key] if entry[key].count(each) > 1]:
                raise ValidationError(Reason(f"names {shown(twice[0])} twice"), key)
        urls = {"jku": [entry["jku"]] if entry["jku"] else [], "fhir_servers": entry["fhir_servers"]}
        for key, named in urls.items():
            for url in named:
                is_internal = host_of(url) in entry["internal_hosts"]
                if not url.startswith("https:") and not (is_internal and is_loopback(host_of(url))):
                    raise ValidationError(Reason(f"has {shown(url)} in it and {_NEEDS_HTTPS}"), key)
        hosts = {host_of(url) for named in urls.values() for url in named}
        of_app = (entry["app"] or {}).get("auth_hosts")
        hosts |= {host for host in of_app if isinstance(host, str)} if isinstance(of_app, list) else set()
        if strange := [host for host in entry["internal_hosts"] if host not in hosts]:
            raise ValidationError(Reason(f"names {shown(strange[0])}, which {_NOT_A_HOST}"), "internal_hosts")


_SCHEMA = _ClientSchema()
