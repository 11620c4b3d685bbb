"""The hook context: the resources of a context member, as far as they can be read.

A broken resource and one of another patient spoil nothing but themselves, and are counted.
Specification: CDS Hooks Library, order-select, order-sign, appointment-book.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from cds_hooks.json_text import UNREADABLE
from service.chart.elements import as_dict, as_list, as_text, changed_by, statuses
from service.chart.patient import Owner, PatientNames, ReceivedChart

# Ids of draft orders are longer in some EHRs than FHIR allows; whoever is to delete a draft must be given its id.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,255}")
# What is taken where it stands alone, in no Bundle and no array.
_ALONE = frozenset({"Appointment", "MedicationRequest", "ServiceRequest"})
# A draft that is one of these is none any more.
_CANCELLED = frozenset({"cancelled", "entered-in-error", "noshow", "revoked", "stopped"})


@dataclass(frozen=True, slots=True)
class ContextResource:
    """One resource of the hook context, at its place among them; `reference` is Type/id, or the type where the id is of
    no use."""

    reference: str
    resource: Mapping[str, Any]
    selected: bool
    place: int

    @property
    def kind(self) -> str:
        return self.reference.partition("/")[0]

    @property
    def can_be_named(self) -> bool:
        """Whether an action can name it."""
        return "/" in self.reference


@dataclass(frozen=True, slots=True)
class HookContext:
    """The readable resources of the patient in context, and how many others there were."""

    resources: tuple[ContextResource, ...]
    other_patient: int
    unreadable: int
    # Those that were cancelled.
    cancelled: int = 0

    def left_out(self) -> dict[str, int]:
        """The counts for the assessment in the extension."""
        return {"otherPatient": self.other_patient, "unreadable": self.unreadable}


def hook_context(member: object, chart: ReceivedChart, selections: Iterable[str] | None = None) -> HookContext:
    """The resources in a member of a hook's context, raw JSON of a Bundle or an array, as far as they are about the
    patient of the chart. Selected are those that `selections` name, without them all.
    """
    named = None if selections is None else {_bare(name) for name in selections}
    names, resources = PatientNames(chart), list[ContextResource]()
    other_patient = unreadable = cancelled = 0
    for place, resource in enumerate(_resources(member, msgspec.json.decode)):
        kind = as_text(resource.get("resourceType"))
        owner = _owner(resource, names)
        if not kind.isalpha() or owner is Owner.UNREADABLE or changed_by(resource):
            unreadable += 1
        elif owner is Owner.OTHER:
            other_patient += 1
        elif not statuses(resource.get("status")) & _CANCELLED and resource.get("doNotPerform") is not True:
            identifier = as_text(resource.get("id"))
            reference = f"{kind}/{identifier}" if _ID.fullmatch(identifier) else kind
            selected = named is None or not named.isdisjoint((reference, identifier))
            resources.append(ContextResource(reference, resource, selected, place))
        else:
            cancelled += 1
    return HookContext(tuple(resources), other_patient, unreadable, cancelled)


def as_written(member: object) -> dict[int, dict[str, Any]]:
    """The resources of this member by the place of their draft, to be sent back: each number is the text that came.

    A FHIR decimal is as precise as it is written: 1.50 is not 1.5, and a float cuts long ones off. What is nested too
    deeply to be read so is left out. FHIR R4, Datatypes: decimal.
    """
    return dict(enumerate(_resources(member, _with_numbers_as_text)))


def _with_numbers_as_text(raw: msgspec.Raw) -> object:
    return json.loads(str(memoryview(raw), "utf-8"), parse_int=orjson.Fragment, parse_float=orjson.Fragment)


def _bare(reference: str) -> str:
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])


def _resources(raw: object, decode: Callable[[msgspec.Raw], Any]) -> Iterator[dict[str, Any]]:
    """Each resource of a Bundle or an array; an empty dict for what is none."""
    if not isinstance(raw, msgspec.Raw):
        return
    try:
        value = decode(raw)
    except UNREADABLE:
        yield {}
        return
    if isinstance(value, dict):
        kind, entries = value.get("resourceType"), value.get("entry", [])
        if kind == "Bundle" and isinstance(entries, list):
            value = [as_dict(entry).get("resource") for entry in entries]
        elif not isinstance(kind, str) or kind not in _ALONE:
            value = {}
    yield from (as_dict(item) for item in (value if isinstance(value, list) else [value]))


def _owner(resource: Mapping[str, Any], names: PatientNames) -> Owner:
    """Whose it is. Of the patients who come to one appointment, the patient in context is the one it is about."""
    if resource.get("resourceType") != "Appointment":
        return names.whose(resource)
    actors = [as_dict(as_dict(part).get("actor")) for part in as_list(resource.get("participant"))]
    if any(names.means(as_text(actor.get("reference"))) for actor in actors):
        return Owner.OWN
    return Owner.OTHER if any("Patient/" in as_text(actor.get("reference")) for actor in actors) else Owner.OWN
