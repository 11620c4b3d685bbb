"""What is ordered and done: one FHIR resource -> which imaging, or which referral, of which side and when.

Known codes tell (LOINC, SNOMED CT, the code that our own suggestions carry, and those that a site maps itself); words
alone never do. Nothing here judges an order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from cds_hooks.prefetch import PrefetchValue
from service.chart.codes import CodeIndex
from service.chart.elements import (
    BILATERAL,
    EFFECTIVE,
    LEFT,
    LOINC,
    NO_SIDE,
    RIGHT,
    SCT,
    Coding,
    as_dict,
    as_list,
    as_text,
    changed_by,
    codings,
    current,
    dated,
    decoded,
    each,
    reference_to,
    statuses,
    words_of,
)
from service.chart.fhir_time import When, days_before
from service.chart.patient import Owner, PatientNames, ReceivedChart
from service.knowledge_model.model import ORDER_SYSTEM, Knowledge
from service.knowledge_model.vocabulary import MODALITIES, SYSTEMS
from service.prefetch_keys import IMAGING, ON_CHART, ORDERS, kind_of, split_search

_PLACED = frozenset({"active", "completed"})
_REPORTED = frozenset({"final", "amended", "corrected", "appended", "preliminary", "partial", "available", "completed"})
_DRAFT, _ACTIVE, _DONE = "draft", "active", "done"
WITH_CONTRAST = "with"
# "with contrast", "W contrast", "with and without IV contrast"; never "without contrast" or "W/O contrast".
_WITH_CONTRAST = re.compile(
    r"(?<!not )\bw(?:ith)?(?:\s*(?:and|&|\+|/)\s*w(?:ithout|/?o))?[\s/]+(?:iv\s+|intravenous\s+)?contrast\b",
    re.IGNORECASE,
)
_STANDARD = frozenset({SYSTEMS["loinc"], SYSTEMS["sct"]})
# What an order may be called that a service has something to say about, or that a red flag calls for, wherever it is.
_OF_ANY_PLACE = (
    r"leg\b|limb|extremit|vein|venous|doppler|duplex|bod(?:y|ies)|bone|skelet|joint|muscul|tissue|tendon|nerve"
    r"|physio|therap|ortho|refer|consult|pain|rehab"
)
_AT = "at-"


class Order(msgspec.Struct, frozen=True):
    """An order or a study. `state` is draft, active or done; modality, region and referral are empty where unknown.

    `coded`: it has a code at all; what is known by no code of ours may be anything.
    """

    reference: str
    state: str
    modality: str = ""
    region: str = ""
    referral: str = ""
    side: str = NO_SIDE
    when: When | None = None
    coded: bool = True
    # Contrast is asked for: the site's mapping or the words of the code say so.
    contrast: bool = False
    # What it says of the side does not agree; `side` is then what its code says.
    sides_differ: bool = False
    # Each body site that it names is one of SNOMED CT that is none of ours.
    elsewhere: bool = False

    @property
    def key(self) -> str:
        """The key of its template in orders.toml; empty where it is not known in full."""
        if self.referral:
            return f"referral-{self.referral}"
        return f"{self.modality}-{self.region}" if self.modality and self.region else ""

    def covers(self, key: str, side: str) -> bool:
        """Whether it is what this template on this side would be; an order without a side holds for either."""
        known_side = side in (LEFT, RIGHT, BILATERAL)
        return bool(key) and self.key == key and (not known_side or self.side in (NO_SIDE, BILATERAL, side))


class OnChart(msgspec.Struct, frozen=True):
    """The orders that stand and the imaging that was done, of the patient in context."""

    placed: tuple[Order, ...] = ()
    done: tuple[Order, ...] = ()
    # How many were left out for an element that changes their meaning.
    unreadable: int = 0

    def recently_done(self, key: str, side: str, now: datetime, days: int) -> Order | None:
        """The newest imaging of this template and side within so many days."""
        found = [
            (order.when.high, number, order)
            for number, order in enumerate(self.done)
            if order.when and order.covers(key, side) and days_before(order.when, now)[0] <= days
        ]
        return max(found)[2] if found else None


NOTHING_ORDERED = OnChart()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says of an order, as far as it says it."""

    modality: str = ""
    region: str = ""
    referral: str = ""
    side: str = NO_SIDE
    # What a site says of contrast: with, without or nothing.
    contrast: str = ""


class OrderReader:
    """Reads orders by the codes of one body of knowledge and of one site; made once."""

    def __init__(self, knowledge: Knowledge, index: CodeIndex, site_codes: Mapping[Coding, Meaning]) -> None:
        self._index = index
        self._ours = re.compile("|".join((_OF_ANY_PLACE, *knowledge.engine.order_words)), re.IGNORECASE)
        self._meanings: dict[Coding, list[Meaning]] = {}
        for row in knowledge.order_codes:
            meaning = _meaning(row.concept, row.side)
            if meaning != Meaning():
                self._meanings.setdefault((row.system, row.code), []).append(meaning)
        for key in knowledge.orders:
            self._meanings[(ORDER_SYSTEM, key)] = [_meaning(key, NO_SIDE)]
        self._meanings.update({coding: [meaning] for coding, meaning in site_codes.items()})
        self._studied = [code for system, code in self._meanings if system == LOINC]

    def templates(self) -> dict[str, str]:
        """The prefetch templates of what this reads."""
        return {
            ORDERS: "ServiceRequest?patient={{context.patientId}}&status=active,completed",
            **split_search(IMAGING, "DiagnosticReport?patient={{context.patientId}}", self._studied),
        }

    def is_unrelated(self, resource: Mapping[str, Any]) -> bool:
        """Whether an order that is not recognised is told by a standard code and its words to be of something else.

        A site's own code, or words alone, may mean anything.
        """
        concepts = each(resource.get("code"))
        standard = any(system in _STANDARD for concept in concepts for system, _code in codings(concept))
        words = " ".join(word for concept in concepts for word in words_of(concept))
        return standard and bool(words) and not self._ours.search(words)

    def read(self, chart: ReceivedChart) -> OnChart:
        """What the prefetch says of the patient in context; a key that failed or did not come says nothing."""
        names = PatientNames(chart)
        values = [value for key, value in chart.prefetch.items() if value.resources and kind_of(key) in ON_CHART]
        own = [one for value in values for one in self._of(value, names)]
        plain = [one for one in own if not changed_by(one)]
        found = [order for one in plain if (order := self._on_chart(one))]
        return OnChart(
            tuple(order for order in found if order.state == _ACTIVE or order.reference.startswith("ServiceRequest")),
            tuple(order for order in found if order.state == _DONE and order.modality),
            len(own) - len(plain),
        )

    @staticmethod
    def _of(value: PrefetchValue, names: PatientNames) -> list[dict[str, Any]]:
        resources = current(filter(None, map(decoded, value.resources)))
        return [resource for resource in resources if names.whose(resource) is Owner.OWN]

    def _on_chart(self, resource: Mapping[str, Any]) -> Order | None:
        """An order that stands or a study that was done; None for what is neither."""
        kind, status = as_text(resource.get("resourceType")), statuses(resource.get("status"))
        if kind == "ServiceRequest":
            if not status & _PLACED or resource.get("doNotPerform") is True:
                return None
            state = _ACTIVE if "active" in status else _DONE
            return self.order(resource, reference_to(resource), state)
        if kind in _STUDIES and status & _REPORTED:
            return self.order(resource, reference_to(resource), _DONE)
        return None

    def _meanings_of(self, codings: Iterable[Coding]) -> list[Meaning]:
        return [meaning for coding in codings for meaning in self._meanings.get(coding, ())]

    def order(self, resource: Mapping[str, Any], reference: str, state: str = _DRAFT) -> Order:
        """What this resource asks for, or shows to have been done."""
        kind = as_text(resource.get("resourceType"))
        concepts = [concept for member in _STUDIES.get(kind, ("code",)) for concept in each(resource.get(member))]
        given = [coding for concept in concepts for coding in codings(concept)]
        sites = each(resource.get("bodySite"))
        sites += [{"coding": [as_dict(part).get("bodySite")]} for part in as_list(resource.get("series"))]
        meanings = self._meanings_of(given)
        at = self._meanings_of(coding for concept in sites for coding in codings(concept))
        modality, region = _one(m.modality for m in meanings), _one(m.region for m in meanings if m.modality)
        coded, placed = _one(m.side for m in meanings), self._index.place(sites)[0]
        added = next((side for concept in concepts if (side := self._index.place([], concept)[0])), NO_SIDE)
        worded = added or self._index.side_in_words(*concepts)
        sides = {*(m.side for m in meanings), placed, worded if worded != BILATERAL else NO_SIDE} - {NO_SIDE}
        return Order(
            reference,
            state,
            modality,
            region or (_one(m.region for m in at if not m.modality) if modality else ""),
            _one(m.referral for m in meanings),
            coded or placed or worded,
            dated(resource, *_DATED.get(kind, ())).when,
            bool(given),
            _contrast(meanings, concepts),
            sides_differ=len(sides) > 1,
            elsewhere=self._is_elsewhere(sites),
        )

    def _is_elsewhere(self, sites: Iterable[Mapping[str, Any]]) -> bool:
        """Where a site has a code of another system as well, that is a translation; alone it may be any site."""
        named = [given for site in sites if (given := [c for c in codings(site) if not self._index.is_side(c)])]
        return bool(named) and all(
            any(system == SCT for system, _code in given)
            and not any(self._meanings_of([coding]) or self._index.sites(coding) for coding in given)
            for given in named
        )


SiteCodes = Mapping[Coding, Meaning]
NO_SITE_CODES: SiteCodes = MappingProxyType({})
# What each resource calls what it is about, and when it was.
_STUDIES = {"DiagnosticReport": ("code",), "ImagingStudy": ("procedureCode",), "Procedure": ("code",)}
_DATED = {
    "ServiceRequest": (("authoredOn",),),
    "DiagnosticReport": (EFFECTIVE, ("issued",)),
    "ImagingStudy": (("started",),),
    "Procedure": (("performedDateTime", "performedPeriod"),),
}


def _meaning(concept: str, side: str) -> Meaning:
    if concept.startswith("referral-"):
        return Meaning(referral=concept.removeprefix("referral-"))
    if concept.startswith(_AT):
        return Meaning(region=concept.removeprefix(_AT), side=side)
    modality, _, region = concept.partition("-")
    return Meaning(modality, region, "", side) if modality in MODALITIES else Meaning()


def _contrast(meanings: Sequence[Meaning], concepts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether contrast is asked for: as the site says of its code, otherwise by the words of the code."""
    if mapped := {meaning.contrast for meaning in meanings if meaning.contrast}:
        return WITH_CONTRAST in mapped
    return any(_WITH_CONTRAST.search(word) for concept in concepts for word in words_of(concept))


def _one(values: Iterable[str]) -> str:
    """What all that say something agree on; empty where they do not."""
    distinct = set(filter(None, values))
    return distinct.pop() if len(distinct) == 1 else ""
