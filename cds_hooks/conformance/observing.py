"""What is sent to a service that is being checked, and what comes back. Nothing here judges an answer.

Specification: Discovery; Calling a CDS Service; Feedback; Cross-Origin Resource Sharing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests

from cds_hooks.check_mark import AGENT, EXTENSION
from cds_hooks.hooks import HOOKS
from cds_hooks.prefetch import PrefetchTokenError, resolve_template
from cds_hooks.text_forms import is_loopback

ORIGIN = "https://ehr.example.org"
# How long an answer is waited for, and all slow answers together; a call is slow from a second on.
_SECONDS = 5.0
_PATIENCE = 6 * _SECONDS
_SLOW = 1.0
# After so many calls in a row that hung, the others of that URL are not sent.
_HUNG = 2
_LARGEST = 20_000_000
_JSON = "application/json"
_PATIENT = "conformance-check"
_UNKNOWN = "no-such-service"


class Unreachable(Exception):  # noqa: N818 - what it says
    """Nothing answers at the address. The text is one sentence for the person who checks."""


class NoAnswer(OSError):  # noqa: N818 - what it says
    """A call had no answer. The text says why, for the person who checks."""


class Hung(NoAnswer, TimeoutError):  # noqa: N818 - as above
    """It was waited for in vain."""


class NoneSent(Exception):  # noqa: N818 - what it says
    """No service has the hook of any request that was given. The text is one sentence for the person who checks."""


class Kind(StrEnum):
    """What an exchange was for."""

    DISCOVERY = "discovery"
    VALID = "valid"
    GIVEN = "given"
    TOLERATED = "tolerated"
    WITHOUT_PREFETCH = "without prefetch"
    BAD = "bad"
    CONTENT_TYPE = "content type"
    UNKNOWN_SERVICE = "unknown service"
    WITHOUT_TOKEN = "without token"  # noqa: S105 - a kind of call
    PREFLIGHT = "preflight"
    FEEDBACK = "feedback"
    BAD_FEEDBACK = "bad feedback"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of `headers` are in small letters, `seconds` is the time that it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float = 0.0

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def json(self) -> Any:
        """The body as JSON values (RFC 8259, in UTF-8); None for what is no JSON, as for `null`."""
        try:
            return json.loads(self.body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


def _refuse(name: str) -> None:
    """NaN and Infinity, which Python reads, are no JSON."""
    raise ValueError(name)


@dataclass(frozen=True)
class Call:
    """One thing to send. `entry` is the entry of discovery that it is about, where it is about one."""

    kind: Kind
    what: str
    url: str
    method: str = "POST"
    body: bytes | None = field(default=None, repr=False)
    content_type: str = _JSON
    with_token: bool = True
    entry: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Exchange:
    """What was sent and what came back; `answer` is None where nothing did, and `failure` says why.

    One that is not `sent` was given up beforehand.
    """

    call: Call
    answer: Answer | None
    failure: str = ""
    sent: bool = True

    @property
    def what(self) -> str:
        return self.call.what


@dataclass(frozen=True)
class Observations:
    """Everything that was sent to the service at `url`. `entries` are those of discovery that can be called.

    `given` has each request that was given, by name, with its hook.
    """

    url: str
    exchanges: tuple[Exchange, ...]
    entries: tuple[Mapping[str, Any], ...]
    with_token: bool
    with_feedback: bool
    given: tuple[tuple[str, object], ...] = ()

    def of(self, *kinds: Kind) -> Iterator[Exchange]:
        """The exchanges of these kinds; of all kinds when none is named."""
        return (exchange for exchange in self.exchanges if not kinds or exchange.call.kind in kinds)

    def answered(self, *kinds: Kind) -> Iterator[tuple[str, Answer]]:
        """What of each exchange of these kinds, with its answer where one came."""
        return ((each.what, each.answer) for each in self.of(*kinds) if each.answer is not None)


# Method, URL, headers, body -> the answer. Raises NoAnswer, or another OSError, when none comes.
Send = Callable[[str, str, Mapping[str, str], bytes | None], Answer]
# Hands on what it is given, one by one, as a progress bar does.
Over = Callable[[Sequence[Call]], Iterable[Call]]

_EXCEPTIONS = requests.exceptions
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (_EXCEPTIONS.Timeout, "no answer came in time"),
    (_EXCEPTIONS.SSLError, "no secure connection: TLS could not be agreed on, or the certificate is not trusted here"),
    (_EXCEPTIONS.ConnectionError, "no connection: refused, broken off, or the name of the host is not known"),
    (_EXCEPTIONS.ChunkedEncodingError, "the answer broke off"),
    (_EXCEPTIONS.ContentDecodingError, "the answer is not encoded as it says"),
)


def over_http(seconds: float = _SECONDS) -> Send:
    """Sends over HTTP, and waits for so many seconds for the whole of an answer; redirects are not followed."""
    session = requests.Session()

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        given_up = Event()

        def exchange() -> Answer:
            start = perf_counter()
            with session.request(
                method,
                url,
                data=body,
                headers=dict(headers),
                timeout=seconds,
                allow_redirects=False,
                stream=True,
                # No password of a .netrc for this host.
                auth=lambda prepared: prepared,
            ) as received:
                content = bytearray()
                for part in received.iter_content(65_536):
                    content += part
                    if given_up.is_set() or len(content) > _LARGEST:
                        raise NoAnswer(f"the answer is longer than {_LARGEST} bytes")
                named = {name.lower(): value for name, value in received.headers.items()}
                return Answer(received.status_code, named, bytes(content), perf_counter() - start)

        try:
            return _within(seconds, exchange)
        finally:
            given_up.set()

    return send


def _within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """What `work` gives; raises NoAnswer. No time-out of a socket ends an answer that comes letter by letter."""
    done: SimpleQueue[Answer | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except (OSError, ValueError) as problem:
            done.put(problem)

    Thread(target=run, daemon=True).start()
    try:
        found = done.get(timeout=seconds)
    except Empty:
        found = _EXCEPTIONS.Timeout()
    if isinstance(found, Answer):
        return found
    if isinstance(found, _EXCEPTIONS.Timeout):
        raise Hung(f"no answer within {seconds:g} s")
    if isinstance(found, NoAnswer):
        raise found
    raise NoAnswer(reason_of(found))


def reason_of(problem: Exception) -> str:
    """Why a call by `requests` had no answer, in words; its own text may hold the URL, and so a token of a query."""
    return next((reason for kind, reason in _FAILURES if isinstance(problem, kind)), "it could not be sent")


def observe(
    url: str,
    send: Send,
    *,
    token: Callable[[str], str] | None = None,
    given: Iterable[tuple[str, Mapping[str, Any]]] = (),
    feedback: bool = True,
    over: Over = iter,
    agent: str = AGENT,
    patience: float = _PATIENCE,
) -> Observations:
    """Sends all that the checks look at to the service whose discovery is at `url`/cds-services.

    A `url` without a scheme is tried with https and http, on a loopback address with http. `token` gives the bearer
    token for a call of a URL. `given` are requests, by name, that are sent besides the made ones to the services of
    their hook. `agent` is the User-Agent. After `patience` seconds of waiting for slow answers no more is sent.

    Raises Unreachable when discovery has no answer at all, NoneSent when no service has the hook of any request.
    """
    observer = _Observer(send, token, agent, patience)
    url, discovery = _discovered(url, observer)
    if discovery.answer is None:
        raise Unreachable(f"Nothing answers at {discovery.call.url}: {discovery.failure}.")
    base = discovery.call.url
    entries = tuple(_callable_entries(discovery.answer.json))
    requests_ = tuple(given)
    hooks_given = tuple((name, body.get("hook")) for name, body in requests_)
    # Where discovery itself is wrong, that is what is to be said.
    if requests_ and _is_usable(discovery.answer, entries):
        _require_any([entry["hook"] for entry in entries], [hook for _name, hook in hooks_given])
    calls = [*_planned(base, entries, requests_), Call(Kind.PREFLIGHT, "discovery, preflight", base, "OPTIONS")]
    if token:
        calls.append(Call(Kind.WITHOUT_TOKEN, "discovery without a token", base, "GET", with_token=False))
    exchanges = [discovery, *(observer.exchange(call) for call in over(calls))]
    if feedback:
        exchanges += [observer.exchange(call) for call in over(list(_feedback(base, exchanges, entries)))]
    return Observations(url, tuple(exchanges), entries, token is not None, feedback, hooks_given)


def _discovered(url: str, observer: _Observer) -> tuple[str, Exchange]:
    """The address of the service with its scheme, and what its discovery answered."""
    for address in (tried := _addresses(url)):
        address = address.rstrip("/").removesuffix("/cds-services")  # noqa: PLW2901 - the same, as it is called
        found = observer.exchange(Call(Kind.DISCOVERY, "discovery", f"{address}/cds-services", "GET"))
        if found.answer is not None or address == tried[-1]:
            break
    return address, found


def _addresses(url: str) -> tuple[str, ...]:
    schemes = ("http", "https")
    scheme, is_whole, _rest = url.partition("://")
    try:
        host = urlsplit(url if is_whole else f"//{url}").hostname
    except ValueError:
        host = None
    if not host or (is_whole and scheme.lower() not in schemes):
        raise Unreachable("That is not the address of a web server: give it as https://host, http://host or host:port.")
    if is_whole:
        return (url,)
    return (f"http://{url}",) if is_loopback(host) else (f"https://{url}", f"http://{url}")


def _is_usable(discovery: Answer, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether discovery says which services there are; none is an answer too."""
    listed = discovery.json.get("services") if isinstance(discovery.json, dict) else None
    return discovery.status == 200 and (bool(entries) or listed == [])


def _require_any(published: Sequence[str], given: Sequence[object]) -> None:
    if not any(hook in published for hook in given):
        theirs, ours = (", ".join(sorted({str(hook) for hook in hooks})) for hooks in (given, published))
        reason = (
            f"none of its {len(given)} requests can be sent: they are for {theirs}, the service is for {ours or 'none'}"
        )
        # What others call their hooks is not trusted to be printable.
        raise NoneSent("".join(filter(str.isprintable, reason)) + ".")


class _Observer:
    def __init__(self, send: Send, token: Callable[[str], str] | None, agent: str, patience: float) -> None:
        self._send, self._token, self._agent, self._patience = send, token, agent, patience
        self._waited = 0.0
        self._hung: Counter[str] = Counter()

    def exchange(self, call: Call) -> Exchange:
        if self._waited >= self._patience:
            return Exchange(call, None, f"slow answers had taken {self._patience:g} s in all", sent=False)
        if self._hung[call.url] >= _HUNG:
            return Exchange(call, None, f"the {_HUNG} calls of that URL before it hung", sent=False)
        start = perf_counter()
        try:
            answer = self._send(call.method, call.url, self._headers(call), call.body)
        except OSError as problem:
            self._hung[call.url] += isinstance(problem, TimeoutError)
            reason = str(problem) if isinstance(problem, NoAnswer) else "no answer came"
            return Exchange(call, None, reason)
        else:
            self._hung[call.url] = 0
            return Exchange(call, answer)
        finally:
            took = perf_counter() - start
            self._waited += took if took > _SLOW else 0

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"Origin": ORIGIN, "Accept": _JSON, "User-Agent": self._agent}
        if call.method == "OPTIONS":
            headers |= {
                "Access-Control-Request-Method": "GET" if call.url.endswith("/cds-services") else "POST",
                "Access-Control-Request-Headers": "authorization, content-type",
            }
        elif self._token and call.with_token:
            headers["Authorization"] = f"Bearer {self._token(call.url)}"
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        return headers


def _callable_entries(discovered: Any) -> Iterator[Mapping[str, Any]]:
    services = discovered.get("services") if isinstance(discovered, dict) else None
    for entry in services if isinstance(services, list) else ():
        if isinstance(entry, dict) and all(isinstance(entry.get(name), str) and entry[name] for name in ("id", "hook")):
            yield entry


def _planned(
    base: str, entries: Sequence[Mapping[str, Any]], given: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[Call]:
    for entry in entries:
        at, name = f"{base}/{quote(entry['id'], safe='')}", f"{entry['id']} on {entry['hook']}"
        request = example_request(entry)

        def call(
            kind: Kind,
            what: str,
            body: object,
            *,
            at: str = at,
            name: str = name,
            entry: Mapping[str, Any] = entry,
            **more: Any,
        ) -> Call:
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            return Call(kind, f"{name}{what}", at, body=text, entry=entry, **more)

        yield call(Kind.VALID, "", request)
        yield call(Kind.TOLERATED, ", with an extension and unknown members", _with_more(request))
        yield call(Kind.WITHOUT_PREFETCH, ", without prefetch", _without(request, "prefetch"))
        for member in ("hook", "hookInstance", "context"):
            yield call(Kind.BAD, f", without {member}", _without(request, member))
        for member in _required_context(entry["hook"]):
            context = _without(request["context"], member)
            yield call(Kind.BAD, f", without context.{member}", {**request, "context": context})
        yield call(Kind.BAD, ", with another hook", {**request, "hook": "org.example.another-hook"})
        yield call(Kind.BAD, ", with a body that is no JSON", b"{not JSON")
        yield call(Kind.BAD, ", with a body that is no object", [request])
        yield call(Kind.CONTENT_TYPE, ", as text/plain", request, content_type="text/plain")
        for title, body in given:
            if body.get("hook") == entry["hook"]:
                yield call(Kind.GIVEN, f", {title}", _marked(body))
    if entries:
        first = example_request(entries[0])
        yield Call(Kind.UNKNOWN_SERVICE, "a service that is not there", f"{base}/{_UNKNOWN}", body=_dumped(first))
    for id_ in dict.fromkeys(entry["id"] for entry in entries):
        yield Call(Kind.PREFLIGHT, f"{id_}, preflight", f"{base}/{quote(id_, safe='')}", "OPTIONS")


def _feedback(base: str, exchanges: Sequence[Exchange], entries: Sequence[Mapping[str, Any]]) -> Iterator[Call]:
    for id_ in dict.fromkeys(entry["id"] for entry in entries):
        at = f"{base}/{quote(id_, safe='')}/feedback"
        cards = [card for each in exchanges if (each.call.entry or {}).get("id") == id_ for card in _cards_of(each)]
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        ignored = {"card": _uuid_of(cards), "outcome": "overridden", "outcomeTimestamp": now}
        reason = {"reason": {"code": "example", "system": "https://ehr.example.org/reasons"}, "userComment": "Example"}
        batch = [ignored, {**ignored, "overrideReason": reason}]
        for card in cards[:1]:
            suggested = [each["uuid"] for each in card.get("suggestions") or () if "uuid" in each]
            if suggested:
                taken = [{"id": suggested[0]}]
                batch.append({**ignored, "outcome": "accepted", "acceptedSuggestions": taken})
        yield Call(Kind.FEEDBACK, f"{id_}, feedback", at, body=_dumped(_marked({"feedback": batch})))
        yield Call(Kind.BAD_FEEDBACK, f"{id_}, feedback without its array", at, body=b"{}")


def _uuid_of(cards: Sequence[Mapping[str, Any]]) -> str:
    return next((card["uuid"] for card in cards if isinstance(card.get("uuid"), str)), str(uuid4()))


def _cards_of(exchange: Exchange) -> Iterator[Mapping[str, Any]]:
    body = exchange.answer.json if exchange.answer else None
    cards = body.get("cards") if isinstance(body, dict) else None
    for card in cards if isinstance(cards, list) else ():
        suggestions = card.get("suggestions", []) if isinstance(card, dict) else None
        if isinstance(suggestions, list) and all(isinstance(each, dict) for each in suggestions):
            yield card


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _without(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def _with_more(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what a service has to let pass: extensions, and members that it does not know."""
    more = {"extension": {"org.example.check": {"known": False}}, "exampleOfAnUnknownMember": [1, {"two": 2}]}
    return _marked({**request, **more, "context": {**request["context"], "exampleOfAnUnknownMember": "example"}})


def _marked(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the mark of a check beside its other extensions."""
    extension = body.get("extension", {})
    return {**body, "extension": {**extension, EXTENSION: True}} if isinstance(extension, dict) else dict(body)


# ---------------------------------------------------------------------------------------------------------------------
# The example


def _bundle(*resources: Mapping[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in resources]}


_SUBJECT = {"reference": f"Patient/{_PATIENT}"}
_ORDER = {
    "resourceType": "ServiceRequest",
    "id": "example-order",
    "status": "draft",
    "intent": "order",
    "subject": _SUBJECT,
    "code": {"text": "Example"},
}
_APPOINTMENT = {
    "resourceType": "Appointment",
    "id": "example-appointment",
    "status": "proposed",
    "participant": [{"actor": _SUBJECT, "status": "needs-action"}],
}
_MEDICATIONS = _bundle(
    {
        "resourceType": "MedicationRequest",
        "id": "example-medication",
        "status": "draft",
        "intent": "order",
        "subject": _SUBJECT,
        "medicationCodeableConcept": {"text": "Example"},
    }
)
_ALLERGY = {"resourceType": "AllergyIntolerance", "id": "example-allergy", "patient": _SUBJECT}
_CONDITION = {"resourceType": "Condition", "id": "example-condition", "subject": _SUBJECT, "code": {"text": "Example"}}
# What a hook requires in its context beside the patient and the user.
_CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    "encounter-start": {"encounterId": "example-encounter"},
    "encounter-discharge": {"encounterId": "example-encounter"},
    "order-select": {"selections": ["ServiceRequest/example-order"], "draftOrders": _bundle(_ORDER)},
    "order-sign": {"draftOrders": _bundle(_ORDER)},
    "order-dispatch": {
        "dispatchedOrders": ["ServiceRequest/example-order"],
        "performer": "Organization/example",
    },
    "appointment-book": {"appointments": _bundle(_APPOINTMENT)},
    "allergyintolerance-create": {"allergyIntolerance": _bundle(_ALLERGY)},
    "medication-refill": {"medications": _MEDICATIONS},
    "problem-list-item-create": {"conditions": _bundle(_CONDITION)},
    "medication-prescribe": {"medications": _MEDICATIONS},
    "order-review": {"orders": _bundle(_ORDER)},
}


def _required_context(hook: str) -> tuple[str, ...]:
    """The members that the context of a hook of the library must have. A missing user is common, and let pass."""
    return tuple(name for name, member in HOOKS[hook].schema.fields.items() if member.required) if hook in HOOKS else ()


def example_request(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A request for this entry of discovery: a patient of whom nothing is known, and an empty result of each search."""
    context = {"userId": "Practitioner/example", "patientId": _PATIENT, **_CONTEXTS.get(entry["hook"], {})}
    templates = entry.get("prefetch")
    prefetch = {}
    for key, template in templates.items() if isinstance(templates, dict) else ():
        try:
            prefetch[key] = _example_of(resolve_template(template, context)) if isinstance(template, str) else None
        except PrefetchTokenError:
            # What the context has no value for, a client cannot fetch either.
            continue
    return {
        "hook": entry["hook"],
        "hookInstance": str(uuid4()),
        "context": context,
        **({"prefetch": prefetch} if prefetch else {}),
    }


def _example_of(query: str) -> dict[str, Any]:
    kind, _, id_ = query.partition("?")[0].partition("/")
    if "?" in query or not id_:
        return {"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": []}
    if kind == "Patient":
        return {"resourceType": kind, "id": id_, "gender": "unknown", "birthDate": "1980-01-01"}
    return {"resourceType": kind, "id": id_}
