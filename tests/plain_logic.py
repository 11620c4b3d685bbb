"""The condition language in the plainest words, to hold the compiled conditions to."""

from collections.abc import Collection, Mapping

from service.knowledge_model.conditions import Condition, Interval, Value
from service.knowledge_model.model import Knowledge


def verdict(
    condition: Condition, known: Mapping[str, Value], twice: Collection[str], knowledge: Knowledge
) -> bool | None:
    """What comes of a condition where these values are known and these findings are recorded in two ways."""
    if condition.parts:
        parts = [verdict(part, known, twice, knowledge) for part in condition.parts]
        # `all` is no, and the others are yes, as soon as one part is.
        decisive = condition.word != "all"
        found = decisive if decisive in parts else None if None in parts else not decisive
        return not found if condition.word == "none" and found is not None else found
    return of_leaf(condition, known, twice, knowledge)


def of_leaf(
    condition: Condition, known: Mapping[str, Value], twice: Collection[str], knowledge: Knowledge
) -> bool | None:
    name, operand = condition.finding, condition.operand
    value = known.get(name)
    if name in knowledge.definitions:
        value = verdict(knowledge.definitions[name][1], known, twice, knowledge)
    documented = {
        "contradictory": name in twice,
        "not-absent": value is not False,
        "not-present": value is not True,
        "unknown": value is None,
    }
    if condition.word == "is" and operand in documented:
        return documented[operand]
    return None if value is None else compared(condition, value)


def compared(leaf: Condition, value: Value) -> bool | None:
    """What comes of comparing a value that is known."""
    if isinstance(value, Interval):
        enough, too_little = value.low >= leaf.operand, value.high < leaf.operand
        if leaf.word == "at_most":
            enough, too_little = value.high <= leaf.operand, value.low > leaf.operand
        return True if enough else False if too_little else None
    return value in leaf.operand if leaf.word == "one_of" else value is (leaf.operand == "present")
