"""The orders that the advice proposes, as drafts that the page can put into the chart; whoever signs is the EHR's.

A draft is the resource that the card's suggestion carries, made by service.answers.orders. Its identifier is of the
order, the chart and the encounter: the same order is drafted once, whatever page asks for it again.
Specification: FHIR R4, ServiceRequest; SMART App Launch 2.2, Scopes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import orjson

from cds_hooks.scopes import Grant, Interaction, granted, grants_creation
from service.access.smart_app import ORDER
from service.second_opinion.opinion import Opinion
from service.second_opinion.sealing import Session
from service.second_opinion.smart import SmartClient


class Proposal(NamedTuple):
    """An order that a card proposes. `id`: a uuid of it in this chart and encounter; `label` as on the card; `because`
    is what the card says; `resource` is empty where it is none that may be drafted."""

    id: str
    label: str
    because: str
    resource: Mapping[str, Any]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What it is ordered for, in words."""
        return tuple(reason["text"] for reason in self.resource.get("reasonCode", ()))


def proposals(opinion: Opinion, session: Session) -> Iterator[Proposal]:
    """The orders of all cards, in their order."""
    # Without an encounter, a draft is of its day.
    moment = session.encounter or f"{opinion.evaluation.now:%Y-%m-%d}"
    for advised in opinion.answered.advised:
        for suggestion in advised.card.suggestions:
            resources = [action.resource or {} for action in suggestion.actions if action.type == "create"]
            resource = resources[0] if len(resources) == len(suggestion.actions) == 1 else {}
            is_draft = [resource.get(name) for name in ("resourceType", "status", "intent")] == [
                ORDER,
                "draft",
                "proposal",
            ]
            what = orjson.dumps([resource.get("code"), resource.get("bodySite")], option=orjson.OPT_SORT_KEYS).decode()
            id_ = uuid5(NAMESPACE_URL, f"{session.iss}/Patient/{session.patient} {moment} {what}")
            yield Proposal(str(id_), suggestion.label, advised.card.summary, resource if is_draft else {})


def may_draft(smart: SmartClient, scope: str, creatable: Callable[[], frozenset[str]]) -> bool:
    """Whether orders may be drafted: by the entry, the grant, which has to let them be looked for as well, and by what
    the server says it creates."""
    return (
        ORDER in smart.app.write
        and grants_creation(scope, ORDER)
        and granted(scope, ORDER, Interaction.SEARCH) is not Grant.NONE
        and ORDER in creatable()
    )
