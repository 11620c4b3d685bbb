"""One decision in the dialects of EHRs: what each of them does with an answer that is right by the book.

- `generic`: the answer as it is.
- `epic`: by Epic's page "CDS Hooks" (fhir.epic.com, Documentation; its headings are named here).
  *Card Attributes*: `any` is the only selection behaviour, and the code of a topic has letters and digits alone. Of
  alternatives, only the recommended one is left, for `any` would let a clinician take them all.
  *Suggestion Attributes*: one action from each suggestion, whose description is shown where others show the label. A
  suggestion of several actions becomes one for each, what is new before what is taken away; every one of them says how
  many belong together, and so does the card. `isRecommended` means that it is ticked already: so a deletion has it
  only as a step of a replacement that has it, and is never what comes of a click without reading.
  *HTTP Response Fields*: what may be created and deleted; a message to the patient is left out, and the
  card has a link to it.
  *Codesets for Create APIs*: an order is named by the code of the site's preference list, a medicine by that or by
  RxNorm under its OID. An order without such a code cannot be placed: it is left out, and the card names it.
- `oracle-health`: follows release 1.0, which knows `at-most-one` alone. A card whose suggestions may all be taken
  offers them all together first, then each. Links that are not registered are removed, so that the link leads to the
  one address that can be; `source.url` still leads to the page about this card. Source: fhir.cerner.com, CDS Hooks.

Neither was tried against a system of the vendor: docs/trust.md. Specification: CDS Service Response; Suggestion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid5

from msgspec.structs import replace

from cds_hooks import Action, Card, Suggestion
from service.answers.orders import medicine_of, order_of
from service.answers.spelling import Spelling
from service.knowledge_model.model import Knowledge, Wording
from service.knowledge_model.vocabulary import SYSTEMS
from service.settings import Style
from service.why_address import ADVICE, PATH

# What comes first leaves nobody without a medicine or an order when the second step is forgotten.
_ORDER_OF_STEPS = ("create", "update", "delete")
_EPIC_DELETES = ("MedicationRequest", "ProcedureRequest", "ServiceRequest")
_EPIC_CREATES = ("Condition", *_EPIC_DELETES)
PREFERENCE_LIST = "urn:com.epic.cdshooks.action.code.system.preference-list-item"
# Epic's name for the code systems that it takes a medicine by.
_OIDS = {SYSTEMS["rxnorm"]: "urn:oid:2.16.840.1.113883.6.88"}
_WORD = re.compile(r"[^A-Za-z0-9]+(\w?)")
_ALL_KNOWLEDGE = "/knowledge.html"


def in_style(style: Style, card: Card, knowledge: Knowledge, spelling: Spelling) -> Card:
    """The same card as this client takes it; `spelling` is that of the United Kingdom."""
    change = _DIALECTS.get(style.ehr)
    changed = change(card, style, knowledge) if change else card
    if style.spelling == "uk":
        changed = _in_uk_words(spelling.card(changed))
    return changed if style.extensions else _strict(changed)


def _in_uk_words(card: Card) -> Card:
    links = (replace(link, url=link.url.replace(ADVICE, f"{ADVICE}uk/")) for link in card.links)
    return replace(card, links=tuple(links))


def _strict(card: Card) -> Card:
    """The card as strict client libraries parse it: HealthChain 0.16 and cds-hooks-go refuse an extension, HealthChain
    also a suggestion that does not say whether it is recommended, and every link, of which it wants a member that CDS
    Hooks does not have. `source.url` leads where the link does.
    """
    suggestions = tuple(replace(each, is_recommended=bool(each.is_recommended)) for each in card.suggestions)
    return replace(card, suggestions=suggestions, links=(), extension=None)


def _epic(card: Card, style: Style, knowledge: Knowledge) -> Card:
    topic = card.source.topic
    source = replace(card.source, topic=topic and replace(topic, code=_in_letters(topic.code)))
    card, left_out = replace(card, source=source), list[str]()
    suggestions = tuple(filter(None, (_epic_suggestion(each, style, knowledge, left_out) for each in card.suggestions)))
    words = knowledge.wording
    notes = [words.say("order_by_hand", orders=", ".join(left_out))] if left_out else []
    if card.selection_behavior == "at-most-one":
        suggestions = tuple(sorted(suggestions, key=lambda each: not each.is_recommended)[:1])
    if count := max((len(each.actions) for each in suggestions if len(each.actions) > 1), default=0):
        notes.insert(0, words.say("steps_together", count=count))
    return replace(
        card,
        suggestions=tuple(step for each in suggestions for step in _steps(each, words)),
        selection_behavior="any" if suggestions else None,
        detail="\n\n".join(filter(None, (*notes, card.detail))) or None,
    )


def _in_letters(code: str) -> str:
    """A code of letters and digits alone: immediate-evaluation is immediateEvaluation."""
    return _WORD.sub(lambda found: found[1].upper(), code)


def _epic_suggestion(
    suggestion: Suggestion, style: Style, knowledge: Knowledge, left_out: list[str]
) -> Suggestion | None:
    """The suggestion as Epic can carry it out; None where it cannot. What is to be ordered then joins `left_out`."""
    actions = []
    for action in suggestion.actions:
        kind = (action.resource or {}).get("resourceType") or (action.resource_id or "").partition("/")[0]
        if action.type == "update" or kind not in (_EPIC_DELETES if action.type == "delete" else _EPIC_CREATES):
            return None
        resource = action.resource and _as_placed(action.resource, style, knowledge)
        if action.type == "create" and resource is None:
            left_out.append(action.description)
            return None
        actions.append(replace(action, resource=resource))
    if not actions:
        return None
    if len(actions) == 1:
        only = replace(actions[0], description=suggestion.label)
        is_recommended = suggestion.is_recommended if only.type == "create" else None
        return replace(suggestion, actions=(only,), is_recommended=is_recommended)
    return replace(suggestion, actions=tuple(actions))


def _as_placed(resource: Mapping[str, Any], style: Style, knowledge: Knowledge) -> Mapping[str, Any] | None:
    """An order under the codes that Epic places it by; None where it has none. Other resources stay as they are."""
    if resource["resourceType"] == "MedicationRequest":
        member, (key, side) = "medicationCodeableConcept", (medicine_of(resource, knowledge), "")
    elif resource["resourceType"] in _EPIC_DELETES:
        member, (key, side) = "code", order_of(resource, knowledge)
    else:
        return resource
    code = style.preference_list.get((key, side)) or style.preference_list.get((key, ""))
    codings = [{"system": PREFERENCE_LIST, "code": code}] if code else []
    codings += [
        {**coding, "system": _OIDS[coding["system"]]}
        for coding in resource[member]["coding"]
        if coding["system"] in _OIDS
    ]
    return {**resource, member: {**resource[member], "coding": codings}} if codings else None


def _steps(suggestion: Suggestion, wording: Wording) -> Iterator[Suggestion]:
    """A suggestion for each action."""
    count = len(suggestion.actions)
    if count < 2:
        yield suggestion
        return
    actions = sorted(suggestion.actions, key=lambda action: _ORDER_OF_STEPS.index(action.type))
    for number, action in enumerate(actions, start=1):
        label = wording.say("step", number=number, count=count, action=action.description)
        yield replace(
            suggestion,
            label=label,
            uuid=_derived(suggestion.uuid, f"step {number}"),
            actions=(replace(action, description=label),),
        )


def _oracle_health(card: Card, _style: Style, knowledge: Knowledge) -> Card:
    links = tuple(
        replace(link, url=link.url.partition(PATH)[0] + _ALL_KNOWLEDGE) if PATH in link.url else link
        for link in card.links
        if ADVICE not in link.url
    )
    card, suggestions = replace(card, links=links), card.suggestions
    if card.selection_behavior != "any":
        return card
    if len(suggestions) > 1:
        actions: tuple[Action, ...] = tuple(action for suggestion in suggestions for action in suggestion.actions)
        label = knowledge.wording.say("all_together", count=len(suggestions))
        together = Suggestion(label, _derived(card.uuid, "together"), is_recommended=True, actions=actions)
        suggestions = (together, *(replace(suggestion, is_recommended=None) for suggestion in suggestions))
    return replace(card, suggestions=suggestions, selection_behavior="at-most-one")


def _derived(uuid: str, name: str) -> str:
    """The same id from call to call, so that feedback is about the same suggestion. It tells no more than its uuid,
    which is made by a key."""
    return str(uuid5(UUID(uuid), name))


_DIALECTS: Mapping[str, Callable[[Card, Style, Knowledge], Card]] = MappingProxyType(
    {"epic": _epic, "oracle-health": _oracle_health}
)
