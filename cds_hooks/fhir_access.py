"""Reads from the CDS client's FHIR server what its prefetch lacks.

What is asked for, from where and for how long is decided here; `outbound` sees to it that a fetch cannot be turned
against the network that the service stands in. The access token goes to the FHIR server of its request only.
Specification: FHIR Resource Access; Prefetch Template.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import Lock
from time import monotonic
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from cds_hooks.json_text import UNREADABLE
from cds_hooks.outbound import Allowance, Fetched, OutboundError, Reach, get, run
from cds_hooks.prefetch import (
    LEFT_ALONE,
    NOT_FETCHED,
    NOT_IN_TIME,
    PrefetchState,
    PrefetchTokenError,
    PrefetchValue,
    read_prefetch,
    resolve_template,
)
from cds_hooks.request import FhirAuthorization, HookRequest
from cds_hooks.scopes import Grant, Interaction, granted
from cds_hooks.text_forms import is_loopback

_GAPS = frozenset({PrefetchState.MISSING, PrefetchState.FAILED, PrefetchState.INCOMPLETE})
# Reasons for which a server is not to blame, or may not have been asked at all.
_NOT_ASKED = frozenset({"refused-address", "scheme"})
# After so many calls in a row that a server has left without any answer, nobody waits for it for so many seconds. So
# many kinds of calls are remembered.
_IN_VAIN = 3
_PAUSE = 10.0
_REMEMBERED = 256

_PRINTABLE = re.compile(r"[!-~]+")
# A path is taken as it stands only where every server reads it alike, however often it decodes it: with no dot, slash,
# backslash or percent sign escaped, nor what is no printable ASCII character, and no segment that is nothing but dots
# before the parameters that some servers strip.
_PLAIN_PATH = re.compile(r"(?:[!-$&-\[\]-~]|%(?!2[5ef]|5c|7f)[2-7][0-9a-f])*")
_DOTS = re.compile(r"/[. ]+(?:[;/]|$)")
_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_REQUEST = re.compile(r"(?P<type>[A-Z][A-Za-z]*)(?:/(?P<id>[^/?#]+)|\?(?P<parameters>[^#]+))")
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?json(?:\+fhir)?")

# Proxies and servers refuse URLs from about 2,000 characters on.
_LONGEST_URL = 2_000
_LONGEST_PART = 1_800
_CODES = re.compile(r"(?<=[?&]code=)[^&]+")


@dataclass(frozen=True, slots=True)
class FhirPolicy:
    """Which FHIR servers may be read for a CDS client, and how much; times in seconds, sizes in bytes.

    A server at or below one of the `base_urls` is read; with `loopback_only` and no base URL, any on a loopback
    address. `internal` says that the names of the base URLs may stand for private addresses. `deadline` is for all that
    one request lacks. `page_limit` is for one search, `total_bytes` for one request: no page is begun beyond it.
    `connections` is how many there may be to one server at once. The resource types of `first` are asked for first.
    """

    base_urls: tuple[str, ...]
    internal: bool
    loopback_only: bool
    deadline: float = 1.5
    page_limit: int = 10
    page_bytes: int = 5_000_000
    total_bytes: int = 20_000_000
    connections: int = 64
    first: tuple[str, ...] = ()


def has_gaps(request: HookRequest) -> bool:
    """Whether complete can have anything to do."""
    return any(value.state in _GAPS for value in request.prefetch.values())


def complete(
    request: HookRequest,
    templates: Mapping[str, str],
    policy: FhirPolicy | None,
    *,
    waiting: AbstractContextManager[object] | None = None,
    room: Callable[[int], bool] | None = None,
) -> HookRequest:
    """The request with the gaps of its prefetch filled as far as they can be before the policy's deadline.

    A gap is a key of `templates` that is missing, failed or incomplete: with null and empty the client has answered.
    Where only further pages are lacking, those are read, else the whole search is done.
    What came in full is FETCHED, what came in part is INCOMPLETE, an unusable answer is FAILED; what nobody was asked
    for, or did not come in time, stays as it was. The notes say why. Without a policy no call is made at all.
    `waiting` is entered for as long as the server is waited for. `room` says whether so many bytes more can be kept; it
    is asked from another thread.
    """
    gaps = {
        key: value
        for key in templates
        if (value := request.prefetch.get(key) or PrefetchValue(key, PrefetchState.MISSING)).state in _GAPS
    }
    if not gaps:
        return request
    reader = _reader(request, policy, room or (lambda _: True))
    if isinstance(reader, str):
        filled = {key: _noted(value, reader) for key, value in gaps.items()}
    else:
        filled = reader.fill(gaps, templates, request.context, waiting or nullcontext())
    return replace(request, prefetch={**request.prefetch, **filled})


def _noted(value: PrefetchValue, note: str) -> PrefetchValue:
    return msgspec.structs.replace(value, note="; ".join(filter(None, (value.note, note))))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads, in a form that can be compared; the path ends with a slash."""

    scheme: str
    host: str
    port: int
    path: str

    def holds(self, other: _Place) -> bool:
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port) and other.path.startswith(
            self.path
        )

    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def _place(url: str) -> _Place | None:
    """None for a URL that is not plain enough to be compared."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if (
        not _PRINTABLE.fullmatch(url)
        or parts.scheme not in _PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or "#" in url
        or not _is_plain(parts.path)
    ):
        return None
    return _Place(
        parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port, parts.path.rstrip("/") + "/"
    )


def _is_plain(path: str) -> bool:
    return _PLAIN_PATH.fullmatch(path.lower()) is not None and _DOTS.search(unquote(path)) is None


# A service is called for few servers, again and again. What is read below them is not kept: it may name a patient.
_server = lru_cache(maxsize=256)(_place)


def _reader(request: HookRequest, policy: FhirPolicy | None, room: Callable[[int], bool]) -> _Reader | str:
    """The reader for this request, or why nothing may be read."""
    if policy is None:
        return "nothing is fetched in prefetch-only mode"
    if not request.fhir_server:
        return "no usable fhirServer in the request"
    base = _server(request.fhir_server)
    if base is None or "?" in request.fhir_server:
        return "fhirServer is not a FHIR base URL"
    if base.scheme != "https" and not base.is_loopback():
        return "fhirServer does not use https"
    if not _is_listed(base, policy):
        return "fhirServer is not one that may be read for this client"
    authorization = request.fhir_authorization
    problem = _misfit(authorization, request.context.get("patientId")) if authorization else ""
    return problem or _Reader(request.fhir_server, base, authorization, policy, client=request.client, room=room)


def _is_listed(base: _Place, policy: FhirPolicy) -> bool:
    if policy.loopback_only and not base.is_loopback():
        return False
    if policy.loopback_only and not policy.base_urls:
        return True
    return any(listed.holds(base) for listed in map(_server, policy.base_urls) if listed)


def _misfit(authorization: FhirAuthorization, patient_id: object) -> str:
    """Why the token cannot be used for this call, empty when it can."""
    if authorization.token_type.lower() != "bearer" or not _TOKEN.fullmatch(authorization.access_token):
        return "the access token is not a bearer token"
    if authorization.expires_in is not None and authorization.expires_in <= 0:
        return "the access token has expired"
    if authorization.patient is not None and authorization.patient.removeprefix("Patient/") != patient_id:
        return "the access token is for another patient than the context"
    return ""


class _Asked(NamedTuple):
    """What tells calls to a FHIR server apart: a search that is slow must not keep others from being made."""

    client: str | None
    server: _Place
    kinds: frozenset[str]


class _Patience:
    """Which calls to FHIR servers were made in vain; for all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._in_vain: dict[_Asked, tuple[int, float]] = {}

    def is_over(self, asked: _Asked) -> bool:
        """Whether nobody is to wait for such a call now. When its time is over, one finds out how the server is."""
        with self._lock:
            calls, until = self._in_vain.get(asked, (0, 0.0))
            if calls < _IN_VAIN:
                return False
            now = monotonic()
            if now >= until:
                self._in_vain[asked] = calls, now + _PAUSE
            return now < until

    def learn(self, asked: _Asked, *, answered: bool) -> None:
        """Whether the server gave such a call any answer at all, be it a refusal."""
        with self._lock:
            calls, _ = self._in_vain.pop(asked, (0, 0.0))
            if not answered:
                if len(self._in_vain) >= _REMEMBERED:
                    del self._in_vain[next(iter(self._in_vain))]
                self._in_vain[asked] = calls + 1, monotonic() + _PAUSE

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._in_vain.clear()


_patience = _Patience()


class _Stopped(Exception):  # noqa: N818 - it ends a search, and is no error of the program
    """Why a search gives no further page; `failed` when the server's answer is to blame, not that nobody asked."""

    def __init__(self, note: str, *, failed: bool) -> None:
        super().__init__(note)
        self.note = note
        self.failed = failed


@dataclass(slots=True)
class _Query:
    """One read or one search, page by page; `instance` is the type and id that a read must give."""

    key: str
    kind: str
    url: str
    instance: tuple[str, str] | None
    pages: list[PrefetchValue] = field(default_factory=list)


class _Link(msgspec.Struct, gc=False):
    relation: str | None = None
    url: str | None = None


class _Identity(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str | None = None
    id: str | None = None


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LINKS = msgspec.json.Decoder(list[_Link] | None)
_IDENTITY = msgspec.json.Decoder(_Identity)


class _Reader:
    """Reads one FHIR server for one request, until the deadline."""

    def __init__(
        self,
        base_url: str,
        base: _Place,
        authorization: FhirAuthorization | None,
        policy: FhirPolicy,
        *,
        client: str | None,
        room: Callable[[int], bool],
    ) -> None:
        self._end = monotonic() + policy.deadline
        self._base_url = base_url.rstrip("/")
        self._base = base
        self._policy = policy
        self._client = client
        self._reach = Reach(
            internal=policy.internal or policy.loopback_only,
            http=base.scheme == "http",
            client=client or "",
            connections=policy.connections,
        )
        self._scope = authorization.scope if authorization else ""
        self._headers = {"Accept": "application/fhir+json"}
        if authorization:
            self._headers["Authorization"] = f"Bearer {authorization.access_token}"
        self._total = Allowance(policy.total_bytes, room)
        self._answers = 0
        self._silences = 0

    def fill(
        self,
        gaps: Mapping[str, PrefetchValue],
        templates: Mapping[str, str],
        context: Mapping[str, object],
        waiting: AbstractContextManager[object],
    ) -> dict[str, PrefetchValue]:
        """The value of each gap after everything was asked for at once, what decides before the rest."""
        filled: dict[str, PrefetchValue] = {}
        queries: list[_Query] = []
        narrowed: set[str] = set()
        for key, value in sorted(gaps.items(), key=lambda gap: self._rank(templates[gap[0]])):
            try:
                of_key, grant = self._queries(value, templates[key], context)
            except (_Stopped, PrefetchTokenError) as problem:
                filled[key] = _noted(value, str(problem))
                continue
            queries += of_key
            if grant is Grant.PART:
                narrowed.add(key)
        stops: dict[str, list[_Stopped]] = {}
        for query, stopped in zip(queries, self._ask(queries, waiting), strict=True):
            if stopped:
                stops.setdefault(query.key, []).append(stopped)
        for key in gaps.keys() - filled.keys():
            pages = [page for query in queries if query.key == key for page in query.pages]
            filled[key] = _settle(gaps[key], pages, stops.get(key, ()), narrowed=key in narrowed)
        return filled

    def _ask(self, queries: Sequence[_Query], waiting: AbstractContextManager[object]) -> Sequence[_Stopped | None]:
        """Why each query gives no more than it has read; None for those that are done."""
        if not queries:
            return ()
        asked = _Asked(self._client, self._base, frozenset(query.kind for query in queries))
        if _patience.is_over(asked):
            return [_Stopped(LEFT_ALONE, failed=False)] * len(queries)
        with waiting:
            stops = run(self._follow_all(queries))
            if self._answers or self._silences:
                _patience.learn(asked, answered=self._answers > 0)
        return stops

    async def _follow_all(self, queries: Sequence[_Query]) -> Sequence[_Stopped | None]:
        return await asyncio.gather(*map(self._follow, queries))

    def _rank(self, template: str) -> int:
        kind, first = re.split("[/?]", template, maxsplit=1)[0], self._policy.first
        return first.index(kind) if kind in first else len(first)

    def _queries(
        self, value: PrefetchValue, template: str, context: Mapping[str, object]
    ) -> tuple[list[_Query], Grant]:
        path = resolve_template(template, context)
        asked, url = _REQUEST.fullmatch(path), f"{self._base_url}/{path}"
        place = _place(url)
        if asked is None or place is None or not self._base.holds(place):
            raise _Stopped("the template gives neither a read nor a search in this context", failed=False)
        kind, identifier = asked["type"], asked["id"]
        grant = granted(self._scope, kind, Interaction.READ if identifier else Interaction.SEARCH)
        if grant is Grant.NONE:
            raise _Stopped("outside of the granted scope", failed=False)
        if identifier:
            return [_Query(value.key, kind, url, (kind, unquote(identifier)))], Grant.FULL
        following = _place(value.next_page)
        urls = [value.next_page] if following and self._base.holds(following) else _parts(url)
        return [_Query(value.key, kind, part, None) for part in urls], grant

    async def _follow(self, query: _Query) -> _Stopped | None:
        """Reads page after page into the query; what it returns is why there are more pages than it has read."""
        url, seen = query.url, set[str]()
        try:
            while True:
                seen.add(url)
                page, link = _read_page(query, await self._get(url))
                query.pages.append(page)
                if link is None:
                    return None
                url = self._next(url, link, seen)
        except _Stopped as stopped:
            return stopped

    async def _get(self, url: str) -> Fetched:
        if self._total.bytes_left <= 0:
            raise _Stopped(f"more than {self._policy.total_bytes} bytes in all", failed=True)
        try:
            fetched = await get(
                url,
                self._reach,
                headers=self._headers,
                end=self._end,
                max_bytes=self._policy.page_bytes,
                in_all=self._total,
            )
        except OutboundError as problem:
            if problem.reason == "timeout":
                self._silences += 1
                raise _Stopped(NOT_IN_TIME, failed=False) from None
            if problem.reason == "busy":
                raise _Stopped(f"{NOT_FETCHED}: {problem}", failed=False) from None
            self._answers += 1
            raise _Stopped(f"{NOT_FETCHED}: {problem.reason}", failed=problem.reason not in _NOT_ASKED) from None
        self._answers += 1
        if fetched.status != 200:
            raise _Stopped(f"refused: {fetched.status}", failed=True)
        if not _JSON_TYPE.fullmatch(fetched.content_type):
            raise _Stopped("not FHIR: the content type is not JSON", failed=True)
        return fetched

    def _next(self, url: str, link: str, seen: set[str]) -> str:
        try:
            target = urljoin(url, link)
        except ValueError:
            target = ""
        place = _place(target)
        if place is None or not _PRINTABLE.fullmatch(link) or not self._base.holds(place):
            raise _Stopped("the next page is not on this FHIR server", failed=True)
        if target in seen:
            raise _Stopped("the next page is one that was read", failed=True)
        if len(seen) >= self._policy.page_limit:
            raise _Stopped(f"more than {self._policy.page_limit} pages", failed=True)
        return target


def _read_page(query: _Query, fetched: Fetched) -> tuple[PrefetchValue, str | None]:
    """What lies in one answer, and its next link."""
    try:
        fetched.body.isascii() or fetched.body.decode()
        members = _MEMBERS.decode(fetched.body)
        links = _LINKS.decode(members.pop("link", msgspec.Raw(b"null"))) or []
    except UNREADABLE:
        raise _Stopped("not FHIR: the answer cannot be read as JSON", failed=True) from None
    # Taken out, so that the state of the page tells of its content alone; a page has fewer entries than the search.
    if links or query.pages:
        members.pop("total", None)
    page = read_prefetch({query.key: msgspec.Raw(msgspec.json.encode(members))}, ())[query.key]
    if page.state is PrefetchState.FAILED:
        raise _Stopped(page.note, failed=True)
    if query.instance is None and bytes(members.get("resourceType", b"")) != b'"Bundle"':
        raise _Stopped("not FHIR: a search must give a Bundle", failed=True)
    if query.instance is not None and [_identity(raw) for raw in page.resources] != [query.instance]:
        raise _Stopped("another resource than the one that was asked for", failed=True)
    return page, next((link.url or "" for link in links if link.relation == "next"), None)


def _identity(raw: msgspec.Raw) -> tuple[str, str] | None:
    try:
        identity = _IDENTITY.decode(raw)
    except UNREADABLE:
        return None
    return (identity.resource_type, identity.id) if identity.resource_type and identity.id else None


def _settle(
    value: PrefetchValue, pages: Sequence[PrefetchValue], stops: Sequence[_Stopped], *, narrowed: bool
) -> PrefetchValue:
    """What a gap has become, with the pages that came for it and the reasons why others did not."""
    notes = [page.note for page in pages] + [stopped.note for stopped in stops]
    if narrowed:
        notes.append("the granted scope is narrowed by a query")
    resources = _merged([*(raw for page in pages for raw in page.resources), *value.resources])
    note = "; ".join(dict.fromkeys(filter(None, notes)))
    if not (stops or narrowed or any(page.state is PrefetchState.INCOMPLETE for page in pages)):
        return PrefetchValue(value.key, PrefetchState.FETCHED, resources, note)
    if resources or not stops:
        state = PrefetchState.INCOMPLETE
    else:
        # Nothing at all: an empty part of a search must not look like an answer to the whole of it.
        state = PrefetchState.FAILED if any(stopped.failed for stopped in stops) else value.state
    return _noted(msgspec.structs.replace(value, state=state, resources=resources), note)


def _merged(resources: Iterable[msgspec.Raw]) -> tuple[msgspec.Raw, ...]:
    """Each resource once: an Observation with two codes comes with two parts of a search."""
    merged: dict[object, msgspec.Raw] = {}
    for raw in resources:
        merged.setdefault(_identity(raw) or len(merged), raw)
    return tuple(merged.values())


def _parts(url: str) -> list[str]:
    """The URL of a search; where it is too long, several that have a part of its codes each.

    FHIR has the search by POST for this; but nothing is read except by a guarded GET, which changes nothing.
    """
    codes = _CODES.search(url)
    if len(url) <= _LONGEST_URL or codes is None:
        return [url]
    before, after = url[: codes.start()], url[codes.end() :]
    room = _LONGEST_PART - len(before) - len(after)
    parts: list[str] = []
    for code in codes[0].split(","):
        if parts and len(parts[-1]) + 1 + len(code) <= room:
            parts[-1] += f",{code}"
        else:
            parts.append(code)
    return [f"{before}{part}{after}" for part in parts]
