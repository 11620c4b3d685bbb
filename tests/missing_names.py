"""Each name of the packaged knowledge taken away in turn: it is told at the start, or done without.

    python -m tests.missing_names [--sample COUNT] [--seed NUMBER]

tries all of them, or a sample, in this process (seven minutes of CPU for all): the knowledge without the name is
loaded as at a start, answers a request and more of each kind of service, with its explanation, and makes the knowledge
page.
What is neither told nor done without would be a 500 to a clinician: it is printed, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch

from cds_hooks.errors import CdsHooksError, PreconditionFailed
from service.answers.orders import check_templates
from service.knowledge_model import loader
from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError
from service.knowledge_model.properties import read_properties
from service.pages.knowledge import document
from service.reasoning.assessment import Assessor
from service.service_ids import DIAGNOSIS
from service.services.explanation import Explainer, as_text
from tests.charts import CLOCK

Json = dict[str, Any]
# A place in a file: the keys and the numbers of list entries that lead to what is taken away.
Place = tuple[str, tuple[str | int, ...]]
REQUESTS = Path(__file__).parents[1] / "fixtures" / "requests"
# One and more of each kind of service; together they reach most of what is said and ordered.
ASKED = (
    "gluteal-hamstring-pain/sudden-pop-with-bruising",
    "gluteal-hamstring-pain/left-and-right",
    "imaging-referral-sign/tear-with-mri-of-the-lumbar-spine",
    "analgesic-safety-sign/nsaid-with-kidney-disease",
    "analgesic-safety-sign/injection-with-a-gap",
    "appointment-timing/gap-of-twenty-days",
    "discharge-advice/self-care",
    "discharge-advice/leg-weakness",
)

# What a fault of the service can be; anything else ends the command.
_FAULTS = (CdsHooksError, KnowledgeError, LookupError, AttributeError, TypeError, ValueError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many names instead of all")
    parser.add_argument("--seed", type=int, default=12)
    chosen = parser.parse_args(arguments)
    names = [*filter(is_a_name, places(PACKAGED))]
    tried = random.Random(chosen.seed).sample(names, chosen.sample) if chosen.sample else names  # noqa: S311 - no secret
    began, found = time.monotonic(), Counter[str]()
    with (
        tempfile.TemporaryDirectory() as folder,
        Without(PACKAGED, Path(folder) / "knowledge") as without,
        patch.object(Assessor, "alike", _few_alike),
    ):
        for place in tried:
            outcome = what_comes_of(without, place)
            found[outcome.partition(":")[0]] += 1
            if outcome not in ("told", "answered"):
                print(f"{place}: {outcome}", flush=True)
    counted = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
    print(f"{len(tried)} of {len(names)} names in {time.monotonic() - began:.0f} s: {counted}")
    return 0 if set(found) <= {"told", "answered"} else 1


_alike = Assessor.alike


def _few_alike(*of: Any) -> Iterator[Any]:
    """What would change a card takes most of the time of a call, and the same code for each group of answers."""
    return islice(_alike(*of), 3)


def what_comes_of(without: Without, place: Place) -> str:
    """`told` at the start, `answered` without the name, or what a caller would have met."""
    try:
        try:
            knowledge = without.knowledge(place)
            check_templates(knowledge, CLOCK)
            explainer = Explainer(knowledge, lambda: CLOCK)
            explainer.services_of("patient-view")
            properties = read_properties(knowledge, without.folder)
        except KnowledgeError as error:
            return "told" if str(without.folder) not in str(error) else f"told with a path: {error}"
        for name in ASKED:
            try:
                as_text(explainer.explain(name.partition("/")[0], body_of(name)))
            except PreconditionFailed:
                continue
        document(knowledge, properties)
    except _FAULTS as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return f"failed: {type(error).__name__} {error} in {Path(at.filename).name}, line {at.lineno}"
    return "answered"


@cache
def body_of(name: str) -> bytes:
    """The request of a fixture, the service first."""
    service, _, request = name.partition("/")
    folder = REQUESTS if service == DIAGNOSIS else REQUESTS / service
    return (folder / f"{request}.json").read_bytes()


def inside(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Everything in a file that can be taken away by itself."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from inside(value, (*path, key))


def places(folder: Path) -> list[Place]:
    """Every key and entry of the files of a folder, and each recommendation as a whole."""
    found: list[Place] = []
    for file in sorted(folder.rglob("*.toml")):
        if file.name != "properties.toml":
            name = file.relative_to(folder).as_posix()
            found += [(name, path) for path in inside(tomllib.loads(file.read_text(encoding="utf-8")))]
            found += [(name, ())] if file.parent != folder else []
    return found


class Without:
    """Loads a folder of knowledge without what stands at a place. What the place does not touch is read once."""

    def __init__(self, folder: Path, copy: Path) -> None:
        self.folder = Path(shutil.copytree(folder, copy))
        self.place: Place = ("", ())
        self._of_loader = {name: getattr(loader, name) for name in ("_read", "parse", "_recommendation", "_codes")}
        self._known: dict[tuple[str, str], Any] = {}
        self._patched = patch.multiple(
            loader, _read=self.read, parse=self.parse, _recommendation=self.recommendation, _codes=self.codes
        )

    def __enter__(self) -> Without:
        self._patched.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patched.stop()

    def _once(self, of: str, key: str, *given: Any) -> Any:
        if (of, key) not in self._known:
            self._known[of, key] = self._of_loader[of](*given)
        return self._known[of, key]

    def _is_of_all(self) -> bool:
        """Whether recommendations and conditions may be others without this."""
        return self.place[0] == "guideline.toml"

    def read(self, folder: Path, name: str) -> Json:
        data: Json = deepcopy(self._once("_read", name, folder, name))
        file, path = self.place
        if name == file and path:
            *way, last = path
            holder: Any = data
            for key in way:
                holder = holder[key]
            del holder[last]
        return data

    def codes(self, folder: Path, name: str, *, affiliate: bool) -> Any:
        # No name is taken from the value sets, which others name.
        if ("_codes", name) not in self._known:
            self._known["_codes", name] = self._of_loader["_codes"](folder, name, affiliate=affiliate)
        return self._known["_codes", name]

    def parse(self, text: str, thresholds: dict[str, float]) -> Any:
        if self._is_of_all():
            return self._of_loader["parse"](text, thresholds)
        return self._once("parse", text, text, thresholds)

    def recommendation(self, folder: Path, name: str, *given: Any) -> Any:
        if self._is_of_all() or name == self.place[0]:
            return self._of_loader["_recommendation"](folder, name, *given)
        return self._once("_recommendation", name, folder, name, *given)

    def knowledge(self, place: Place) -> Knowledge:
        """Raises KnowledgeError."""
        self.place = place
        file, path = place
        if path:
            return load(self.folder)
        (self.folder / file).rename(self.folder / "away")
        try:
            return load(self.folder)
        finally:
            (self.folder / "away").rename(self.folder / file)


# What is a name in each file: the keys of these tables, the top-level tables where none is said, and entries of lists.
_NAMED = {
    "engine.toml": ("complaint", "derived", "red_flags", "treatments", "topics", "imaging", "medicines", "referrals"),
    "guideline.toml": ("thresholds", "statements", "provenance"),
    "orders.toml": ("imaging", "referral", "medicine"),
    "questions.toml": ("value", "questions"),
    "differential.toml": ("rules", "caps", "vetoes"),
    "ratings.toml": ("presentations",),
    "rules.toml": ("groups",),
    "wording.toml": ("topics", "facts"),
}
_TABLES = ("findings.toml", "definitions.toml", "causes.toml", "medicine_names.toml", "synonyms.toml", "sources.toml")


def is_a_name(place: Place) -> bool:
    """Whether what stands there is a name: of a finding, a cause, a number, a topic, a recommendation and the like."""
    file, path = place
    if file in _TABLES:
        return len(path) == 1
    if file in _NAMED:
        return path[0] in _NAMED[file] and (len(path) == 2 or isinstance(path[-1], int))
    return not path


if __name__ == "__main__":
    sys.exit(main())
