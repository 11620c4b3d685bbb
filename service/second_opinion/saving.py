"""Saving the answers of a page in the EHR, as the best that its entry, the grant and the server allow, and drafting
orders there; each once.

The EHRs of the field do not create conditionally, so an identifier that is made with the page says whether something is
there already: it is looked for before every further attempt, and an attempt goes to the server once, whoever sends it
again.
Specification: FHIR R4, RESTful API, create; SMART App Launch 2.2, Scopes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID, uuid5

import msgspec
import orjson

from cds_hooks.json_text import UNREADABLE
from cds_hooks.outbound import Fetched, OutboundError, fetch, send
from cds_hooks.scopes import grants_creation
from service.access.smart_app import FORM, NOTE, ORDER, SAVED_AS
from service.second_opinion.answers import About, Answers, Item, Vocabulary, identified
from service.second_opinion.drafting import Proposal
from service.second_opinion.sealing import Session
from service.second_opinion.smart import SmartClient

# In seconds, and bytes: a CapabilityStatement has a part for each of a hundred types.
_PATIENCE, _LARGEST, _LARGEST_STATEMENT = 5.0, 1_000_000, 8_000_000
_FHIR = "application/fhir+json"
_LOCATION = re.compile(rf"(?:^|/)((?:{'|'.join((*SAVED_AS, ORDER))})/[A-Za-z0-9.-]{{1,256}})(?:/_history/[^/]+)?$")
# Why nothing may have arrived, and whoever tries again does no harm.
_NOT_SENT = frozenset({"busy", "refused-address", "scheme", "unresolvable", "certificate"})


class Saved(NamedTuple):
    """What became of an attempt. `references`: what is in the chart now; `status`: that of a refusal, 0 without one;
    `open_`: how many answers or orders are not known to be there; `unknown`: whether one of them may be all the same.
    """

    references: tuple[str, ...] = ()
    status: int = 0
    open_: int = 0
    unknown: bool = False


class _Interaction(msgspec.Struct, gc=False):
    code: str = ""


class _Declared(msgspec.Struct, gc=False):
    type: str = ""
    interaction: list[_Interaction] = []


class _Rest(msgspec.Struct, gc=False):
    resource: list[_Declared] = []


class _Statement(msgspec.Struct, gc=False):
    rest: list[_Rest] = []


class _Entry(msgspec.Struct, gc=False):
    resource: dict[str, Any] = {}


class _Found(msgspec.Struct, gc=False):
    entry: list[_Entry] = []


def kind_to_save(smart: SmartClient, scope: str, creatable: Callable[[], frozenset[str]]) -> str:
    """The type of resource that answers are saved as; empty where they cannot be. `creatable` are those that the server
    says it creates; it is asked where the grant allows one."""
    allowed = [kind for kind in smart.app.write if kind in SAVED_AS and grants_creation(scope, kind)]
    if not allowed:
        return ""
    declared = creatable()
    return next((kind for kind in allowed if kind in declared), "")


def creatable(smart: SmartClient) -> frozenset[str]:
    """The types of resources that the FHIR server says it creates; none where it does not say."""
    internal = smart.client.may_be_internal(smart.app.iss)
    try:
        answer = fetch(
            f"{smart.app.iss}/metadata",
            headers={"Accept": _FHIR},
            deadline=_PATIENCE,
            max_bytes=_LARGEST_STATEMENT,
            allow_internal=internal,
            allow_http=internal,
        )
        statement = msgspec.json.decode(answer.body, type=_Statement) if answer.status == 200 else _Statement()
    except (OutboundError, *UNREADABLE):
        return frozenset()
    return frozenset(
        resource.type
        for rest in statement.rest
        for resource in rest.resource
        if any(each.code == "create" for each in resource.interaction)
    )


class Saver:
    """Saves for one session; `first` says of an attempt by name whether nobody has made it yet."""

    def __init__(
        self, smart: SmartClient, session: Session, vocabulary: Vocabulary, first: Callable[[str], bool]
    ) -> None:
        self._smart, self._session, self._vocabulary, self._first = smart, session, vocabulary, first
        self._internal = smart.client.may_be_internal(smart.app.iss)

    def save(self, kind: str, answers: Answers, side: str, about: About, note: str, *, attempt: int) -> Saved:
        """Save answers as this type; `about.identifier` is of this saving, the same at each `attempt`; `note` is what
        they are in words."""
        resources: Sequence[tuple[str, Mapping[str, Any], int]]
        if kind == FORM:
            form = self._vocabulary.questionnaire_response(answers, about, side)
            resources = [(about.identifier, form, len(answers))]
        elif kind == NOTE:
            resources = [(about.identifier, self._vocabulary.note(note, about), len(answers))]
        else:
            resources = self._single(answers, side, about)
        first = self._first(f"{about.identifier}/{attempt}")
        references: list[str] = []
        status, open_, unknown = 0, 0, False
        for identifier, resource, count in resources:
            one = self._create(kind, identifier, resource, first=first, looks=attempt > 0)
            references += one.references
            open_ += 0 if one.references else count
            status, unknown = one.status or status, unknown or one.unknown
        return Saved(tuple(references), status, open_, unknown)

    def draft(self, proposal: Proposal, *, attempt: int) -> Saved:
        """Put an order into the chart as a draft; another page may have done so, and it is looked for first."""
        resource = {**proposal.resource, "identifier": [identified(proposal.id)]}
        first = self._first(f"{self._session.page}/{proposal.id}/{attempt}")
        drafted = self._create(ORDER, proposal.id, resource, first=first, looks=True)
        return drafted._replace(open_=0 if drafted.references else 1)

    def _single(self, answers: Answers, side: str, about: About) -> Sequence[tuple[str, Mapping[str, Any], int]]:
        found = []
        for item, answer in answers.items():
            of_item = about._replace(identifier=_identifier_of(about, item))
            found.append((of_item.identifier, self._vocabulary.observation(item, answer, of_item, side), 1))
        return found

    def _create(self, kind: str, identifier: str, resource: Mapping[str, Any], *, first: bool, looks: bool) -> Saved:
        if not first or looks:
            there = self._look(kind, identifier)
            if there is None or there.references or there.status or not first:
                # Whoever cannot look must not write again; and another is making this attempt.
                return there._replace(unknown=not there.references) if there else Saved(unknown=True)
        try:
            answer = send(
                f"{self._smart.app.iss}/{kind}",
                orjson.dumps(resource),
                headers=self._headers({"Content-Type": _FHIR}),
                deadline=_PATIENCE,
                max_bytes=_LARGEST,
                allow_internal=self._internal,
                allow_http=self._internal,
            )
        except OutboundError as problem:
            return Saved(unknown=problem.reason not in _NOT_SENT)
        if answer.status not in (200, 201):
            # What lies before a server may give up on it when it has done its work.
            return Saved(status=answer.status, unknown=answer.status >= 500)
        return Saved((_reference(kind, answer),))

    def _look(self, kind: str, identifier: str) -> Saved | None:
        """What is there under this identifier; None where that cannot be told."""
        named = quote(f"urn:ietf:rfc:3986|urn:uuid:{identifier}", safe="")
        try:
            answer = fetch(
                f"{self._smart.app.iss}/{kind}?patient={quote(self._session.patient, safe='')}&identifier={named}",
                headers=self._headers({}),
                deadline=_PATIENCE,
                max_bytes=_LARGEST,
                allow_internal=self._internal,
                allow_http=self._internal,
            )
            found = msgspec.json.decode(answer.body, type=_Found) if answer.status == 200 else None
        except (OutboundError, *UNREADABLE):
            return None
        if found is None:
            return Saved(status=answer.status) if answer.status in (401, 429) else None
        there = [entry.resource for entry in found.entry if _is(kind, identifier, entry.resource)]
        return Saved(tuple(f"{kind}/{one.get('id')}" for one in there)[:1])

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"Accept": _FHIR, "Authorization": f"Bearer {self._session.access_token}", **more}


def _identifier_of(about: About, item: Item) -> str:
    return str(uuid5(UUID(about.identifier), item.key))


def _is(kind: str, identifier: str, resource: Mapping[str, Any]) -> bool:
    """Whether a resource is what has this identifier, and was not taken back: a server that does not know the parameter
    answers with others as well."""
    if resource.get("resourceType") != kind or resource.get("status") == "entered-in-error":
        return False
    named = resource.get("identifier")
    every = named if isinstance(named, list) else [named]
    return any(isinstance(one, dict) and one.get("value") == f"urn:uuid:{identifier}" for one in every)


def _reference(kind: str, answer: Fetched) -> str:
    """What was created, by the place that the server names; else its type alone."""
    if found := _LOCATION.search(answer.headers.get("location", "")):
        return found[1]
    try:
        id_ = msgspec.json.decode(answer.body, type=dict[str, Any]).get("id")
    except UNREADABLE:
        id_ = None
    return f"{kind}/{id_}" if isinstance(id_, str) else kind
