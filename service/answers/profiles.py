"""One decision in the dialects of EHRs: what each of them does with an answer that is right by the book.

- `generic`: the answer as it is.
- `epic`: takes `any` as the only selection behaviour and one action from each suggestion, and shows the description of
  an action where others show the label of a suggestion. Of alternatives, only the recommended one is left, for `any`
  would let a clinician take them all; a question as a Task is left out: nothing says that Epic takes one, and the
  text of the card has it. A suggestion of several actions becomes one for each, what is new before what is taken away;
  every one of them says how many belong together, and so does the card.
- `oracle-health`: follows release 1.0, which knows `at-most-one` alone. A card whose suggestions may all be taken
  offers them all together first, then each.

Topics are codes that never change, as Epic needs them, in every dialect. Sources: docs/trust.md.
Specification: CDS Service Response; Suggestion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID, uuid5

from cds_hooks import Action, Card, Suggestion
from service.answers.spelling import Spelling
from service.knowledge_model.model import Wording
from service.settings import Style

# What comes first leaves nobody without a medicine or an order when the second step is forgotten.
_ORDER_OF_STEPS = ("create", "update", "delete")


def in_style(style: Style, card: Card, wording: Wording, spelling: Spelling) -> Card:
    """The same card as this client takes it; `spelling` is that of the United Kingdom."""
    change = _DIALECTS.get(style.ehr)
    changed = change(card, wording) if change and card.suggestions else card
    if style.spelling == "uk":
        changed = spelling.card(changed)
    return changed if style.extensions else replace(changed, extension=None)


def _epic(card: Card, wording: Wording) -> Card:
    suggestions = tuple(suggestion for suggestion in card.suggestions if _epic_takes(suggestion))
    if not suggestions:
        return replace(card, suggestions=(), selection_behavior=None)
    if card.selection_behavior == "at-most-one":
        suggestions = (next((s for s in suggestions if s.is_recommended), suggestions[0]),)
    split = tuple(step for suggestion in suggestions for step in _steps(suggestion, wording))
    count = max(len(suggestion.actions) for suggestion in suggestions)
    detail = card.detail
    if count > 1:
        detail = "\n\n".join(filter(None, (wording.sentences["steps_together"].format(count=count), detail)))
    return replace(card, suggestions=split, selection_behavior="any", detail=detail)


def _epic_takes(suggestion: Suggestion) -> bool:
    created = (action.resource or {} for action in suggestion.actions)
    return all(resource.get("resourceType") != "Task" for resource in created)


def _steps(suggestion: Suggestion, wording: Wording) -> Iterator[Suggestion]:
    """A suggestion for each action."""
    count = len(suggestion.actions)
    if count < 2:
        yield suggestion
        return
    actions = sorted(suggestion.actions, key=lambda action: _ORDER_OF_STEPS.index(action.type))
    for number, action in enumerate(actions, start=1):
        label = wording.sentences["step"].format(number=number, count=count, action=action.description)
        yield replace(
            suggestion,
            label=label,
            uuid=_derived(suggestion.uuid, f"step {number}"),
            actions=(replace(action, description=label),),
        )


def _oracle_health(card: Card, wording: Wording) -> Card:
    if card.selection_behavior == "at-most-one":
        return card
    suggestions = card.suggestions
    if len(suggestions) > 1:
        actions: tuple[Action, ...] = tuple(action for suggestion in suggestions for action in suggestion.actions)
        label = wording.sentences["all_together"].format(count=len(suggestions))
        together = Suggestion(label, _derived(card.uuid, "together"), actions, is_recommended=True)
        suggestions = (together, *(replace(suggestion, is_recommended=None) for suggestion in suggestions))
    return replace(card, suggestions=suggestions, selection_behavior="at-most-one")


def _derived(uuid: str, name: str) -> str:
    """The same id from call to call, so that feedback is about the same suggestion. It tells no more than its uuid,
    which is made by a key."""
    return str(uuid5(UUID(uuid), name))


_DIALECTS: Mapping[str, Callable[[Card, Wording], Card]] = MappingProxyType(
    {"epic": _epic, "oracle-health": _oracle_health}
)
