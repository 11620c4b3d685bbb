"""Conditions and recommendations as sentences, made from what is evaluated.

They stand beside the sentence that the author of a recommendation wrote, so that a reader sees where the two part.
"""

from __future__ import annotations

from collections.abc import Iterator

from service.knowledge_model.conditions import Condition
from service.knowledge_model.model import Imaging, Knowledge, Recommendation, Referral, Treatment, in_a_sentence, label
from service.knowledge_model.quantity import in_words

_STATES = {
    "present": "{}",
    "absent": "{} documented as absent",
    "not-absent": "{} not documented as absent",
    "not-present": "{} not documented as present",
    "unknown": "{} not known",
    "contradictory": "{} recorded both as present and as absent",
}
# The comparison, and whether it is to be false -> how that reads.
_BOUNDS = {
    ("at_least", False): "at least",
    ("at_most", False): "at most",
    ("at_least", True): "less than",
    ("at_most", True): "more than",
}
_TREATED = {"offer": "offer {}", "hold": "contraindicated or on hold: {}", "caution": "with {}, take care"}
_CHANGED = {
    "replace": "suggest to replace or remove the draft order",
    "remove": "suggest to remove the draft order",
}


def condition_sentence(knowledge: Knowledge, condition: Condition) -> str:
    """A condition in the titles of what it reads: `“sudden onset” AND (“fever” OR “age” at least 18 years)`."""
    if condition.finding:
        return _comparison(knowledge, condition, denied=False)
    only = condition.parts[0]
    if condition.word == "none" and len(condition.parts) == 1 and (only.word, True) in _BOUNDS:
        return _comparison(knowledge, only, denied=True)
    between = " AND " if condition.word == "all" else " OR "
    parts = between.join(_part(knowledge, part) for part in condition.parts)
    return f"NONE OF ({parts})" if condition.word == "none" else parts


def _part(knowledge: Knowledge, part: Condition) -> str:
    sentence = condition_sentence(knowledge, part)
    return f"({sentence})" if part.word in ("all", "any") and len(part.parts) > 1 else sentence


def _comparison(knowledge: Knowledge, condition: Condition, *, denied: bool) -> str:
    # Titles have words such as "and" in them.
    title = f"“{in_a_sentence(knowledge.title_of(condition.finding))}”"
    if condition.word == "is":
        return _STATES[condition.operand].format(title)
    if condition.word == "one_of":
        return f"{title} {' or '.join(sorted(condition.operand))}"
    threshold = knowledge.thresholds[condition.threshold]
    return f"{title} {_BOUNDS[condition.word, denied]} {in_words(threshold['value'], threshold['unit'])}"


def recommendation_sentence(knowledge: Knowledge, recommendation: Recommendation) -> str:
    """WHEN and THEN of a recommendation, a line for each, from its conditions and from all that it calls for."""
    when = condition_sentence(knowledge, recommendation.when)
    return f"WHEN {when},\nTHEN {'; '.join(_then(knowledge, recommendation))}."


def _then(knowledge: Knowledge, recommendation: Recommendation) -> Iterator[str]:
    flag = recommendation.red_flag
    if flag:
        yield f"{recommendation.indicator} red flag {flag.id}"
        if "ranking" in flag.blocks:
            yield "the ranking of causes waits"
        yield from (f"{block} waits" for block in knowledge.engine.blocks if block in flag.blocks)
    if recommendation.critical_when:
        yield f"critical WHEN {condition_sentence(knowledge, recommendation.critical_when)}"
    for imaging in recommendation.imaging:
        yield _imaging(knowledge, imaging)
    for referral in recommendation.referrals:
        yield _called_for(knowledge, knowledge.orders[f"referral-{referral.to}"].title, referral)
    for treatment in recommendation.treatment:
        yield _treatment(treatment)
    if recommendation.change:
        yield _CHANGED[recommendation.change]
    yield f"say, as {recommendation.indicator}: “{recommendation.summary}”"


def _imaging(knowledge: Knowledge, imaging: Imaging) -> str:
    if imaging.modality == "none-now":
        return _called_for(knowledge, "no imaging for now", imaging)
    title = knowledge.orders[f"{imaging.modality}-{imaging.region}"].title
    return _called_for(knowledge, f"{title}, or {imaging.alternative}" if imaging.alternative else title, imaging)


def _called_for(knowledge: Knowledge, title: str, call: Imaging | Referral) -> str:
    words = f"{in_a_sentence(title)} ({call.priority})"
    return f"{words} WHEN {condition_sentence(knowledge, call.when)}" if call.when else words


def _treatment(treatment: Treatment) -> str:
    words = _TREATED[treatment.state].format(in_a_sentence(label(treatment.id)))
    if treatment.without:
        words += f", without {' and '.join(treatment.without)}"
    if treatment.adds:
        words += f", adding {' and '.join(treatment.adds)}"
    return words
