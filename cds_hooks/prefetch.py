"""What the CDS client sent for each prefetch key, and the templates that asked for it.

A value that failed, one that is empty and one that never came are three different things; `PrefetchState` keeps them
apart. The resources stay raw JSON: a broken one spoils nothing but itself.
Specification: Providing FHIR Resources to a CDS Service, Prefetch Template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache, partial
from typing import Any, overload
from urllib.parse import quote

import msgspec

from cds_hooks.body import ABSENT, NO_RESOURCE, Body, Entries, Entry, Heads, Link
from cds_hooks.errors import BadRequest
from cds_hooks.json_text import UNREADABLE, json_type

# The notes of what a FHIR server was to be asked for and did not give, through no answer of its own: the deadline was
# over, it left the last calls without an answer, or it could not be reached.
NOT_IN_TIME = "not in time"
LEFT_ALONE = "the FHIR server did not answer the last calls and is not asked for some seconds"
NOT_FETCHED = "not fetched"
_LATE = (NOT_IN_TIME, LEFT_ALONE, NOT_FETCHED)


class PrefetchState(StrEnum):
    """What became of a prefetch key."""

    SUPPLIED = "supplied"
    EMPTY = "empty"
    NULL = "null"
    FAILED = "failed"
    MISSING = "missing"
    FETCHED = "fetched"
    INCOMPLETE = "incomplete"


class PrefetchValue(msgspec.Struct, frozen=True):
    """One prefetch key: its state and its resources as raw JSON; `note` says why, without any content.

    `next_page` is the URL of the next page where that is all that an incomplete value lacks.
    """

    key: str
    state: PrefetchState
    resources: Sequence[msgspec.Raw] = ()
    note: str = ""
    next_page: str = ""
    # What the service reads of every resource, decoded; empty where one of them is not as it should be, and once it was
    # let go of.
    heads: tuple[Any, ...] = ()
    # The entries of a Bundle as they came; those of a Bundle in it are not among them.
    entries: Callable[[], Sequence[Entry]] = tuple

    @property
    def is_late(self) -> bool:
        """Whether it is missing because the FHIR server that has it did not answer."""
        return self.state is PrefetchState.MISSING and any(note in self.note for note in _LATE)

    def let_go_of_heads(self) -> None:
        """For who has looked at them: they are most of what is kept of a long chart, and push what is read next out of
        the cache of the processor. Who looks again has to decode the resources.
        """
        msgspec.structs.force_setattr(self, "heads", ())

    def __reduce__(self) -> tuple[Any, ...]:
        # For another process: as it came, and what was decoded is decoded there again.
        known = {"key": self.key, "state": self.state, "note": self.note, "next_page": self.next_page}
        entries = self.entries()
        lie_in_them = len(entries) == len(self.resources) and all(
            resource is entry.resource for resource, entry in zip(self.resources, entries, strict=True)
        )
        apart = b"" if lie_in_them else msgspec.json.encode([*self.resources])
        return _restored, (known, msgspec.json.encode(Entries([*entries])), apart)

    def __repr__(self) -> str:
        # What lies in a chart is in no trace.
        return f"PrefetchValue({self.key!r}, {self.state}, {len(self.resources)} resources, {self.note!r})"


class PrefetchTokenError(ValueError):
    """A token of a prefetch template that the context gives no usable value for."""

    def __init__(self, token: str) -> None:
        super().__init__(f"the prefetch token {{{{{token}}}}} has no usable value in the context of this request")
        self.token = token


_BUNDLE_DEPTH = 2


class _Value(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str | None = None
    type: str | None = None
    total: int | None = None
    entry: Sequence[Entry] | None = None
    link: list[Link] | None = None
    resource: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT


class _EntryResponse(msgspec.Struct, gc=False):
    status: str | int | None = None
    outcome: msgspec.Raw = ABSENT


class _Kind(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str | None = None


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


class _Details(msgspec.Struct, gc=False):
    coding: list[_Coding] | None = None


class _Issue(msgspec.Struct, gc=False):
    severity: str | None = None
    code: str | None = None
    details: _Details | None = None


class _Outcome(msgspec.Struct, gc=False):
    issue: list[_Issue] | None = None


_ENTRIES = msgspec.json.Decoder(Entries)
_ENTRY = msgspec.json.Decoder(Entry)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder(_Value)
_KIND = msgspec.json.Decoder(_Kind)
_TEXT = msgspec.json.Decoder(str | None)
_LINK = msgspec.json.Decoder(Link)
_ENTRY_RESPONSE = msgspec.json.Decoder(_EntryResponse)
_OUTCOME = msgspec.json.Decoder(_Outcome)

# Nearly every resource begins with its type. Reading only so far is three times cheaper than decoding it.
_ordinary = re.compile(rb'\{\s*"resourceType"\s*:\s*"(?!OperationOutcome"|Bundle")[A-Z]').match

# Epic's own messages: "returns no results" and "may not contain the entire record", a remark that it makes of sound
# searches. Both come as warnings under the issue code `processing`, and so do messages of lost data.
_EPIC_MESSAGES = re.compile(r"urn:oid:1\.2\.840\.114350\.[\d.]+\.657369")
_EPIC_REMARKS = frozenset({"4101", "4119"})


@dataclass(slots=True)
class _Gathered:
    """What lay in a Bundle and in the Bundles within it."""

    resources: list[msgspec.Raw]
    outcomes: int = 0
    remarks: int = 0
    refused: int = 0
    # How many more a search has found than came.
    short: int = 0
    broken: int = 0
    more: bool = False
    next_page: str = ""


class _Later(Sequence[msgspec.Raw]):
    """Resources that are looked for when one of them is asked for."""

    def __init__(self, find: Callable[[], Sequence[msgspec.Raw]], count: int) -> None:
        self._find, self._count = find, count

    @cached_property
    def _found(self) -> Sequence[msgspec.Raw]:
        return self._find()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[msgspec.Raw]:
        return iter(self._found)

    @overload
    def __getitem__(self, place: int) -> msgspec.Raw: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[msgspec.Raw]: ...
    def __getitem__(self, place: int | slice) -> msgspec.Raw | Sequence[msgspec.Raw]:
        return self._found[place]


def _restored(known: Mapping[str, Any], written: bytes, apart: bytes) -> PrefetchValue:
    entries = _ENTRIES.decode(written).entry or ()
    resources = _ELEMENTS.decode(apart) if apart else [entry.resource for entry in entries]
    return PrefetchValue(**known, resources=resources, entries=lambda: entries)


def read_prefetch(
    raw: msgspec.Raw | Mapping[str, msgspec.Raw] | Heads | None, declared: Iterable[str]
) -> Mapping[str, PrefetchValue]:
    """The state and the resources of each key: those in `declared` first and always, then the others that came.

    Takes the prefetch member as raw JSON or already split by key; see read_ahead.
    Raises BadRequest when the prefetch is not an object.
    """
    values = _split(raw)
    read = partial(_read_ahead, values.body) if isinstance(values, Heads) else _read
    return {
        key: read(key, values[key]) if key in values else PrefetchValue(key, PrefetchState.MISSING)
        for key in dict.fromkeys((*declared, *values))
    }


def _split(raw: msgspec.Raw | Mapping[str, msgspec.Raw] | None) -> Mapping[str, msgspec.Raw]:
    if raw is None:
        return {}
    if isinstance(raw, Mapping):
        return raw
    kind = json_type(raw)
    if kind == "null":
        return {}
    if kind != "object":
        raise BadRequest(
            f"prefetch: expected an object with one member per prefetch key, received {kind}. "
            "Send an object or leave the member out.",
            expression="prefetch",
        )
    try:
        return _MEMBERS.decode(raw)
    except UNREADABLE:
        raise BadRequest("prefetch: expected JSON, received something else.", expression="prefetch") from None


def _failed(key: str, note: str) -> PrefetchValue:
    return PrefetchValue(key, PrefetchState.FAILED, (), note)


def _read(key: str, raw: msgspec.Raw, *, unwrapped: bool = False) -> PrefetchValue:
    kind = json_type(raw)
    if kind != "object":
        null = PrefetchValue(key, PrefetchState.NULL)
        return null if kind == "null" else _failed(key, f"{kind} instead of a resource")
    return _read_object(key, raw, unwrapped=unwrapped)


_NO_RESOURCES_OF_THEIR_OWN = NO_RESOURCE | {"Bundle"}


def _read_ahead(body: Body, key: str, head: Any) -> PrefetchValue:
    """What the first walk tells of a null, a resource or a Bundle."""
    if head is None:
        return PrefetchValue(key, PrefetchState.NULL)
    if head.kind == "Bundle":
        return _bundle_ahead(key, head, partial(body.entries, key))
    return PrefetchValue(key, PrefetchState.SUPPLIED, _Later(lambda: (body.resource(key),), 1), heads=(head,))


def _bundle_ahead(key: str, bundle: Any, found: Callable[[], Sequence[Entry]]) -> PrefetchValue:
    if not (bundle.entry or bundle.link or bundle.total):
        return PrefetchValue(key, PrefetchState.EMPTY)
    heads = []
    for entry in bundle.entry or ():
        head = entry.resource
        if head.kind in _NO_RESOURCES_OF_THEIR_OWN or entry.response is not ABSENT:
            return _mixed_ahead(key, bundle, found)
        heads.append(head)
    resources: Sequence[msgspec.Raw] = _Later(lambda: [each.resource for each in found()], len(heads)) if heads else ()
    # Most say nothing of other pages.
    if not bundle.link and bundle.total in (None, 0, len(heads)):
        state = PrefetchState.SUPPLIED if heads else PrefetchState.EMPTY
        return PrefetchValue(key, state, resources, heads=tuple(heads), entries=found)
    gathered = _Gathered([])
    _note_pages(bundle, gathered, _BUNDLE_DEPTH)
    return msgspec.structs.replace(_judge(key, gathered, resources), heads=tuple(heads), entries=found)


def _mixed_ahead(key: str, bundle: Any, found: Callable[[], Sequence[Entry]]) -> PrefetchValue:
    """A Bundle in which not every entry is a resource of its own."""
    gathered = _Gathered([])
    _gather(_Value("Bundle", bundle.type, bundle.total, found(), bundle.link), gathered, _BUNDLE_DEPTH)
    given = [entry.resource for entry in bundle.entry]
    heads = tuple([head for head in given if head.kind not in _NO_RESOURCES_OF_THEIR_OWN])
    # What lies in a Bundle in it was not read ahead.
    known = heads if len(heads) == len(gathered.resources) else ()
    judged = _judge(key, gathered, tuple(gathered.resources))
    return msgspec.structs.replace(judged, heads=known, entries=found)


def _read_object(key: str, raw: msgspec.Raw, *, unwrapped: bool) -> PrefetchValue:
    gathered = _Gathered([])
    value = _read_value(raw, gathered)
    if value.resource_type == "Bundle":
        _gather(value, gathered, _BUNDLE_DEPTH)
        # Of one without a resource nobody asks.
        entries = [entry for entry in value.entry or () if entry.resource is not ABSENT]
        return msgspec.structs.replace(_judge(key, gathered, tuple(gathered.resources)), entries=lambda: entries)
    if value.resource_type == "OperationOutcome":
        return _failed(key, "an OperationOutcome instead of data")
    if value.resource_type:
        return PrefetchValue(key, PrefetchState.SUPPLIED, (raw,))
    if value.resource is ABSENT or value.response is ABSENT or unwrapped:
        return _failed(key, "an object without resourceType")
    inner = _read(key, value.resource, unwrapped=True)
    note = "; ".join(filter(None, (inner.note, "taken out of the wrapping used before 1.0")))
    return msgspec.structs.replace(inner, note=note)


def _read_value(raw: msgspec.Raw, gathered: _Gathered) -> _Value:
    """The members that say what a value is; those of the wrong type are left out and counted as broken."""
    try:
        return _VALUE.decode(raw)
    except UNREADABLE:
        return _salvage(raw, gathered)


def _salvage(raw: msgspec.Raw, gathered: _Gathered) -> _Value:
    try:
        members = _MEMBERS.decode(raw)
        kind = _KIND.decode(raw).resource_type
    except UNREADABLE:
        return _Value()
    entries = []
    for element in _elements(members.get("entry"), gathered):
        try:
            entries.append(_ENTRY.decode(element))
        except UNREADABLE:
            gathered.broken += 1
    links = []
    for element in _elements(members.get("link"), gathered):
        try:
            links.append(_LINK.decode(element))
        except UNREADABLE:
            gathered.broken += 1
    inner = (members.get("resource", ABSENT), members.get("response", ABSENT))
    return _Value(kind, None, None, entries, links, *inner)


class _Named(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str | None = None
    id: str | None = None


_NAMED = msgspec.json.Decoder(_Named | None)


def full_urls(value: PrefetchValue) -> Iterator[tuple[str, tuple[str, str]]]:
    """The full URLs of the entries of a Bundle, each with type and id of its resource.

    Few charts refer by them, so they are read only where one does. Specification: FHIR R4, Bundle, resolving
    references.
    """
    for entry in value.entries():
        if entry.full_url is ABSENT or entry.resource is ABSENT:
            continue
        try:
            url, named = _TEXT.decode(entry.full_url), _NAMED.decode(entry.resource)
        except UNREADABLE:
            continue
        if url and named and named.resource_type and named.id:
            yield url, (named.resource_type, named.id)


def _elements(raw: msgspec.Raw | None, gathered: _Gathered) -> list[msgspec.Raw]:
    if raw is None or json_type(raw) == "null":
        return []
    try:
        return _ELEMENTS.decode(raw)
    except UNREADABLE:
        gathered.broken += 1
        return []


def _note_pages(bundle: Any, gathered: _Gathered, depth: int) -> None:
    """Whether the Bundle says itself that it is not the whole of a search."""
    for link in bundle.link or ():
        if link.relation == "next":
            gathered.more = True
            # What a Bundle within a Bundle lacks is no page of this search.
            gathered.next_page = link.url or "" if depth == _BUNDLE_DEPTH else ""
    entries = bundle.entry or ()
    if bundle.total and bundle.total > len(entries) and _is_search(bundle) and not gathered.more:
        gathered.short += bundle.total - len(entries)


def _is_search(bundle: Any) -> bool:
    if not isinstance(bundle.type, msgspec.Raw):
        return bool(bundle.type == "searchset")
    try:
        # As a string or not at all: an array would take many times its length.
        return bool(_TEXT.decode(bundle.type) == "searchset")
    except UNREADABLE:
        return False


def _gather(bundle: _Value, gathered: _Gathered, depth: int) -> None:
    _note_pages(bundle, gathered, depth)
    entries = bundle.entry or ()
    gathered.refused += sum(entry.response is not ABSENT and _is_refused(entry.response) for entry in entries)
    resources = [entry.resource for entry in entries if entry.resource is not ABSENT]
    if all(map(_ordinary, resources)):
        gathered.resources += resources
        return
    for resource in resources:
        if _ordinary(resource):
            gathered.resources.append(resource)
        elif json_type(resource) != "null":
            _gather_one(resource, gathered, depth)


def _gather_one(resource: msgspec.Raw, gathered: _Gathered, depth: int) -> None:
    try:
        kind = _KIND.decode(resource).resource_type
    except UNREADABLE:
        kind = None
    if kind == "OperationOutcome":
        if _is_remark(resource):
            gathered.remarks += 1
        else:
            gathered.outcomes += 1
    elif kind == "Bundle" and depth:
        _gather(_read_value(resource, gathered), gathered, depth - 1)
    elif kind and kind != "Bundle":
        gathered.resources.append(resource)
    else:
        gathered.broken += 1


def _is_refused(response: msgspec.Raw) -> bool:
    """Whether the request behind an entry of a batch failed, by its status or by its outcome."""
    if json_type(response) == "null":
        return False
    try:
        answer = _ENTRY_RESPONSE.decode(response)
    except UNREADABLE:
        return True
    if str(answer.status)[:1] in ("4", "5"):
        return True
    return answer.outcome is not ABSENT and json_type(answer.outcome) != "null" and _is_error(answer.outcome)


def _is_error(outcome: msgspec.Raw) -> bool:
    try:
        issues = _OUTCOME.decode(outcome).issue or ()
    except UNREADABLE:
        return True
    return any(issue.severity in ("error", "fatal") for issue in issues)


def _is_remark(outcome: msgspec.Raw) -> bool:
    """Whether no issue of an OperationOutcome can mean that something was left out."""
    try:
        issues = _OUTCOME.decode(outcome).issue
    except UNREADABLE:
        return False
    return bool(issues) and all(map(_informs, issues or ()))


def _informs(issue: _Issue) -> bool:
    # Severity alone does not tell: servers warn, or merely inform, of results that they keep back or have no code for,
    # and under nearly every issue code. So only what says of itself that it is no more than a remark is taken for one.
    if issue.severity not in ("warning", "information"):
        return False
    codings = (issue.details and issue.details.coding) or ()
    of_epic = [coding.code for coding in codings if _EPIC_MESSAGES.fullmatch(coding.system or "")]
    return _EPIC_REMARKS.issuperset(of_epic) if of_epic else issue.code == "informational"


def _judge(key: str, gathered: _Gathered, resources: Sequence[msgspec.Raw]) -> PrefetchValue:
    notes = []
    if gathered.more:
        notes.append("a Bundle with further pages")
    if gathered.outcomes:
        notes.append(f"OperationOutcome entries: {gathered.outcomes}")
    if gathered.refused:
        notes.append(f"entries of a batch that failed: {gathered.refused}")
    if gathered.short:
        notes.append(f"fewer entries than the total, by {gathered.short}")
    if gathered.broken:
        notes.append(f"parts of the Bundle that cannot be read: {gathered.broken}")
    if not notes:
        state = PrefetchState.SUPPLIED if resources else PrefetchState.EMPTY
    else:
        in_part = resources or gathered.more or gathered.short
        state = PrefetchState.INCOMPLETE if in_part else PrefetchState.FAILED
    if gathered.remarks:
        notes.append(f"OperationOutcome entries that only inform: {gathered.remarks}")
    whole = not (gathered.outcomes or gathered.refused or gathered.short or gathered.broken)
    next_page = gathered.next_page if whole else ""
    return PrefetchValue(key, state, resources, "; ".join(notes), next_page)


_USER_TOKENS = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}
_TOKEN = re.compile(r"\{\{(.*?)\}\}")
_CONTEXT_TOKEN = re.compile(r"context\.([A-Za-z][\w-]*)")
_READ = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]+")
_SEARCH = re.compile(r"([A-Z][A-Za-z]+)\?(.+)")
_PARAMETER = re.compile(r"(?P<name>_?[a-z][A-Za-z-]*)(?::(?P<modifier>[^=]*))?=(?P<value>.+)")
_UNDERSCORED = {"_count", "_sort", "_id", "_lastUpdated"}
_ODD_DATE_PREFIX = re.compile(r"(?:ne|sa|eb|ap)(?=\d{4}(?:-\d\d|$))")
# A value from the context ends up in a URL: an id, or a relative reference with one slash.
_TOKEN_VALUE = re.compile(r"(?:[A-Z][A-Za-z]+/)?(?!\.{1,2}$)[^/\s]+")


# Asked of the few templates of a server at every call.
@lru_cache(maxsize=256)
def tokens_of(template: str) -> frozenset[str]:
    """The members of the context that a template names."""
    found = (_CONTEXT_TOKEN.fullmatch(token) for token in _TOKEN.findall(template))
    return frozenset(token[1] for token in found if token)


def lint_template(template: str) -> list[str]:
    """What in a prefetch template goes beyond the specification's Prefetch query restrictions; empty when nothing does.

    Within them are an instance read and a type search with references, tokens (equality or :in), dates
    (eq lt gt ge le), _count and _sort, and the tokens that name a member of the context or the current user.
    """
    problems = [
        f"the token {{{{{token}}}}} is neither a member of the context nor one of the user's ids"
        for token in _TOKEN.findall(template)
        if token not in _USER_TOKENS and not _CONTEXT_TOKEN.fullmatch(token)
    ]
    plain = _TOKEN.sub("token", template)
    if template == "{{context.userId}}" or _READ.fullmatch(plain):
        return problems
    search = _SEARCH.fullmatch(plain)
    if search is None:
        return [*problems, "neither the read of an instance (Type/id) nor the search of a type (Type?parameter=value)"]
    for part in search[2].split("&"):
        problems += _lint_parameter(part)
    return problems


def _lint_parameter(part: str) -> list[str]:
    parameter = _PARAMETER.fullmatch(part)
    if parameter is None:
        return [f"{part!r} is not a plain search parameter with a value"]
    name, modifier, value = parameter["name"], parameter["modifier"], parameter["value"]
    problems = []
    if name.startswith("_") and name not in _UNDERSCORED:
        problems.append(f"the parameter {name} is outside of the restrictions")
    if modifier is not None and modifier != "in":
        problems.append(f"the modifier :{modifier} of {name} is outside of the restrictions, only :in is within")
    if odd := _ODD_DATE_PREFIX.match(value):
        problems.append(f"the date prefix {odd[0]} of {name} is outside of the restrictions")
    return problems


def resolve_template(template: str, context: Mapping[str, Any]) -> str:
    """The FHIR request, relative to the server's base URL, that a template asks for in this context.

    Values are percent-encoded. Raises PrefetchTokenError for a token without a value, never puts anything in its place.
    """
    return _TOKEN.sub(lambda match: _token_value(match[1], context), template)


def _token_value(token: str, context: Mapping[str, Any]) -> str:
    if token in _USER_TOKENS:
        kind, _, value = str(context.get("userId", "")).partition("/")
        values = [value] if kind == _USER_TOKENS[token] else []
    else:
        member = _CONTEXT_TOKEN.fullmatch(token)
        found = context.get(member[1]) if member else None
        values = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    if not values or not all(isinstance(value, str) and _TOKEN_VALUE.fullmatch(value) for value in values):
        raise PrefetchTokenError(token)
    return ",".join(quote(value, safe="/") for value in values)
