"""What two sets of knowledge make of the same charts: whose advice changes, and how.

Each request of a folder (see replay) is answered in process with the old knowledge and with the new, at the folder's
time. Compared is what a clinician or a program would act on; versions, ids and the order of equal things are not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cds_hooks.errors import InternalError
from service.answers.answered import ASSESSMENT_KEY
from service.commands.replay import Over, ReplayError, answers, differences, in_process, read_folder
from service.knowledge_model.model import KnowledgeError
from service.settings import Settings

_PARTS = ("redFlags", "causes", "imaging", "referrals", "treatment", "ask")
# They change with every edit, or are in _PARTS under another name.
_NOT_COMPARED = {"knowledge", *_PARTS}
_TITLES = {"redFlags": "red flags"}


@dataclass(frozen=True, slots=True)
class Change:
    """What is different in one part of an answer, a line for each entry that went or came."""

    part: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


def compare(path: Path, settings: Settings, old: Path, over: Over = iter) -> dict[str, tuple[Change, ...]]:
    """name of a request -> what changes from the knowledge in the folder `old` to that of the settings; may be nothing.

    Raises ReplayError, and KnowledgeError where the new knowledge cannot be used.
    """
    folder = read_folder(path)
    after = _sound(answers(folder, in_process(settings, folder.clock), 0, over))
    try:
        earlier = in_process(replace(settings, knowledge_dir=old), folder.clock)
    except KnowledgeError as error:
        raise ReplayError(f"The knowledge to compare with cannot be used: {error}.") from error
    before = _sound(answers(folder, earlier, 0, over))
    return {name: tuple(changes(before[name], after[name])) for name in sorted(after)}


def _sound(answered: dict[str, Any]) -> dict[str, Any]:
    """Answers, refusals among them, but no faults: two faults that are alike are no sign that nothing changes."""
    for name, answer in answered.items():
        if any(issue["code"] == InternalError.issue_code for issue in answer.get("issue", ())):
            raise ReplayError(f"requests/{name}.json cannot be answered: the fault is in the log.")
    return answered


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """What is different between two answers to one request."""
    if "cards" not in before or "cards" not in after:
        # One of them is a refusal.
        yield from _change("answer", [_json(before)], [_json(after)])
        return
    old, new = (answer["extension"][ASSESSMENT_KEY] for answer in (before, after))
    for part in _PARTS:
        entries = ([_entry(part, entry) for entry in assessment.get(part, ())] for assessment in (old, new))
        yield from _change(_TITLES.get(part, part), *entries, ordered=part == "ask")
    yield from _others(old, new)
    yield from _cards(before, after)
    yield from _change("system actions", *([_json(a) for a in one.get("systemActions", ())] for one in (before, after)))


def _entry(part: str, entry: Any) -> str:
    """One entry of a part of the assessment as a line: what it is, its grade, and what is said about it."""
    if isinstance(entry, str):
        return entry
    grades = ("side", "id", "to", "modality", "region", "indicator", "band", "points", "state", "priority")
    words = [str(entry[member]) for member in grades if member in entry]
    if part == "imaging" and "alternative" in entry:
        words.append(f"or {entry['alternative']}")
    words += [f"{member} {', '.join(entry[member])}" for member in ("without", "cautions") if entry.get(member)]
    return " ".join(words)


def _others(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = ({key: value for key, value in one.items() if key not in _NOT_COMPARED} for one in (old, new))
    for difference in differences(before, after, ""):
        sides = (
            [_json(difference.sides[side])] if side in difference.sides else [] for side in ("expected", "received")
        )
        yield from _change(difference.path.removeprefix("."), *sides)


def _cards(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    old, new = _by_topic(before), _by_topic(after)
    for topic in dict.fromkeys((*old, *new)):
        if topic in old and topic in new:
            yield from _change(f"card {topic}", old[topic], new[topic])
        elif topic in old:
            yield Change(f"card {topic} is gone", old[topic][:1], ())
        else:
            yield Change(f"card {topic} is new", (), new[topic][:1])


def _by_topic(answer: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """topic (with a number where it comes again) -> the lines of its card, its suggestions among them."""
    version = answer["extension"][ASSESSMENT_KEY]["knowledge"]["version"]
    cards: dict[str, tuple[str, ...]] = {}
    for card in answer["cards"]:
        topic = card["source"]["topic"]["code"]
        number = sum(name.split()[0] == topic for name in cards)
        detail = card["detail"].replace(version, "…").splitlines()
        suggested = [f"suggests {suggestion['label']}" for suggestion in card.get("suggestions", ())]
        cards[f"{topic} {number + 1}" if number else topic] = (
            f"{card['indicator']}: {card['summary']}",
            *(line.removeprefix("- ") for line in detail if line.strip()),
            *suggested,
        )
    return cards


def _change(part: str, old: Sequence[str], new: Sequence[str], *, ordered: bool = False) -> Iterator[Change]:
    went, came = list((Counter(old) - Counter(new)).elements()), list((Counter(new) - Counter(old)).elements())
    if went or came:
        yield Change(part, tuple(went), tuple(came))
    elif ordered and list(old) != list(new):
        yield Change(f"{part}, in another order", (", ".join(old),), (", ".join(new),))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def as_text(compared: Mapping[str, Sequence[Change]]) -> str:
    """The changes for a person: the requests whose advice changes, and how many there are of each kind."""
    lines = []
    for name, found in compared.items():
        if found:
            lines.append(name)
        for change in found:
            lines.append(f"  {change.part}")
            lines += [f"    - {line}" for line in change.removed]
            lines += [f"    + {line}" for line in change.added]
    kinds = Counter(change.part.split(" is ")[0] for found in compared.values() for change in found)
    counted = "".join(f"\n  {count} {part}" for part, count in kinds.most_common())
    return "\n".join([*lines, f"{len(compared)} replayed, {sum(map(bool, compared.values()))} change{counted}"])


def as_json(compared: Mapping[str, Sequence[Change]]) -> str:
    """The changes for a machine: an object with a list for each request, which may be empty."""
    return json.dumps(
        {
            name: [{"part": c.part, "removed": list(c.removed), "added": list(c.added)} for c in found]
            for name, found in compared.items()
        },
        ensure_ascii=False,
        indent=2,
    )
