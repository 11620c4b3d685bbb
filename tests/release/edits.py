"""Random edits of the values in a folder of knowledge, and what their digests make of them.

    python -m tests.release.edits [--count 1000] [--seed 16] [--folder FOLDER]

An edit changes one value of a TOML file or one cell of a CSV file. What the loader refuses is told at the start. What
loads as another value than before must change the release digest, and what a recommendation reads, found by another
way than the digests go, must change that of the recommendation. The command prints each edit that does not, and ends
with 1. A thousand take nine minutes of CPU; the tests do a few.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError, Recommendation
from service.knowledge_model.properties import read_properties
from service.release.digests import Digests
from service.release.hazard_log import read_hazards

PRODUCT = "0"
Place = tuple[str, tuple[str | int, ...]]


def leaves(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of the values of a file."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))
    else:
        yield path


def read(file: Path) -> Any:
    """A file of knowledge as tables, or as a list of rows."""
    text = file.read_text(encoding="utf-8")
    return tomllib.loads(text) if file.suffix == ".toml" else list(csv.DictReader(text.splitlines()))


def written(data: Any) -> str:
    """The same file, its values in one line each."""
    if isinstance(data, list):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(data[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(data)
        return text.getvalue()
    return "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in data.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return value.isoformat() if isinstance(value, date) else json.dumps(value)


def edited(value: Any, at: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + at.choice((-1, 1, 10))
    if isinstance(value, date):
        return value + timedelta(days=1)
    return at.choice((f"{value}x", value[:-1], value.upper(), f"{value} and fever", value.replace(" and ", ", ")))


@dataclass(frozen=True)
class Bench:
    """A copy of a folder in which values are edited, one at a time; `places` are all of them."""

    folder: Path
    files: dict[str, Any]

    @property
    def places(self) -> list[Place]:
        return [(name, path) for name, data in self.files.items() for path in leaves(data)]

    @contextmanager
    def with_edit(self, place: Place, at: random.Random) -> Iterator[None]:
        """The folder with the value at this place edited."""
        name, path = place
        before = (self.folder / name).read_text(encoding="utf-8")
        data = json.loads(json.dumps(self.files[name], default=lambda day: {"": day.isoformat()}), object_hook=_date)
        *outer, last = path
        inner = data
        for key in outer:
            inner = inner[key]
        inner[last] = edited(inner[last] or "", at)
        (self.folder / name).write_text(written(data), encoding="utf-8")
        try:
            yield
        finally:
            (self.folder / name).write_text(before, encoding="utf-8")


def _date(found: dict[str, Any]) -> Any:
    return date.fromisoformat(found[""]) if found.keys() == {""} else found


def bench(folder: Path, copy: Path) -> Bench:
    """A copy of the folder to edit."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.md"))
    files = sorted([*copy.rglob("*.toml"), *copy.rglob("*.csv")])
    return Bench(copy, {file.relative_to(copy).as_posix(): read(file) for file in files})


def what_it_reads(knowledge: Knowledge, recommendation: Recommendation) -> Any:
    """What a recommendation stands on, found from its conditions alone."""
    names = knowledge.opened(name for condition in recommendation.conditions() for name in condition.findings())
    names = knowledge.base_findings(names) | names
    return (
        recommendation.summary,
        recommendation.do,
        recommendation.more,
        recommendation.say,
        recommendation.when_then,
        [*recommendation.conditions()],
        recommendation.imaging,
        recommendation.referrals,
        recommendation.treatment,
        recommendation.red_flag,
        {name: knowledge.definitions.get(name) for name in names},
        {name: knowledge.findings.get(name) for name in names},
        {code for code in knowledge.codes if code.concept in names},
        [knowledge.orders[f"referral-{referral.to}"] for referral in recommendation.referrals],
        [knowledge.orders.get(f"{call.modality}-{call.region}") for call in recommendation.imaging],
        knowledge.differential if any(name.startswith("considers-") for name in names) else None,
        knowledge.presentations if "order-rating" in names else None,
        knowledge.wording.strengths[recommendation.strength],
        knowledge.wording.topics[recommendation.topic],
    )


def state_of(folder: Path) -> tuple[Knowledge, Digests, Any]:
    knowledge = load(folder)
    digests = Digests(knowledge, folder, PRODUCT)
    # Read now: the folder is edited afterwards.
    _ = digests.release
    return knowledge, digests, (read_properties(knowledge, folder), read_hazards(folder))


def what_is_missed(before: tuple[Knowledge, Digests, Any], folder: Path) -> str:
    """`told` at the start, `the same` as before, `noticed`, or what changed without a digest."""
    try:
        after = state_of(folder)
    except KnowledgeError:
        return "told"
    (was, digests, properties), (now, changed, properties_now) = before, after
    if was == now and properties == properties_now:
        return "the same"
    if digests.release == changed.release:
        return "missed: the release digest is the same"
    known = {each.id: each for each in was.every_recommendation()}
    for each in now.every_recommendation():
        reads_other = what_it_reads(was, known[each.id]) != what_it_reads(now, each) if each.id in known else False
        if reads_other and digests.recommendations[each.id] == changed.recommendations[each.id]:
            return f"missed: {each.id} reads something else"
    return "noticed"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=PACKAGED)
    chosen = parser.parse_args(arguments)
    at, found = random.Random(chosen.seed), Counter[str]()  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        on = bench(chosen.folder, Path(folder) / "knowledge")
        before, places = state_of(on.folder), on.places
        for place in at.choices(places, k=chosen.count):
            with on.with_edit(place, at):
                outcome = what_is_missed(before, on.folder)
            found[outcome.partition(":")[0]] += 1
            if outcome.startswith("missed"):
                print(f"{place}: {outcome}", flush=True)
    print(f"{chosen.count} edits: " + ", ".join(f"{count} {what}" for what, count in sorted(found.items())))
    return 1 if "missed" in found else 0


if __name__ == "__main__":
    sys.exit(main())
