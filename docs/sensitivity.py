"""Writes sensitivity.md: which decisions depend on a single weight of the ranking.

    python docs/sensitivity.py [--check]

Every weight of weights.csv, and the three distances of differential.toml, is halved and raised by half, one at a time,
over the fixtures. With --check nothing is written; it ends with 1 when the file is not as it would be written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_hooks import read_request
from service.chart.case import Case, CaseReader
from service.commands.replay import read_folder
from service.knowledge_model import loader
from service.knowledge_model.model import Differential, Knowledge
from service.knowledge_model.vocabulary import RATINGS
from service.reasoning.assessment import Assessment, Assessor, presentations
from service.reasoning.differential import Weighed
from service.services.evaluation import chart_of
from service.services.registry import service_registry

HERE = Path(__file__).parent
FILE = HERE / "sensitivity.md"
FIXTURES = HERE.parent / "fixtures"
CALL = ("gluteal-hamstring-pain", "patient-view")
FACTORS = (0.5, 1.5)
DECISIONS = ("leading cause", "imaging", "red flags", "referrals", "ratings of imaging orders")

_HEAD = """\
# What depends on a single weight

Written by `python docs/sensitivity.py`; the tests fail when it is stale. Every weight of the ranking, and the three
distances of its rules, is halved and raised by half, one at a time, over the fixtures with this complaint. Weights that
change no decision are counted and not listed. The weights are a proposal: a clinician has to sign them.

No red flag and no call for imaging depends on a single weight. How an imaging order would be rated, with and without a
radiograph at hand, follows the leading cause where the published criteria are about a cause.
"""


class Flip(NamedTuple):
    """A decision on a chart that another value of one weight turns."""

    weight: str
    factor: float
    decision: str
    fixture: str


class Variation(NamedTuple):
    """A weight with its factor, the ranking that has it, and whether points that count on a chart may be others by it.

    On a chart where none may be others, nothing is decided otherwise.
    """

    weight: str
    factor: float
    rules: Differential
    concerns: Callable[[Weighed], bool]


def variations(rules: Differential) -> Iterator[Variation]:
    """Each weight, and each distance between causes."""
    for factor in FACTORS:
        for number, entry in enumerate(rules.points):
            points = list(rules.points)
            points[number] = replace(entry, points=entry.points * factor)  # type: ignore[arg-type]
            read = ", ".join(sorted(entry.when.findings()))
            yield Variation(
                f"{entry.cause} {entry.points:+d}: {read}",
                factor,
                replace(rules, points=tuple(points)),
                partial(_is_of, of=(entry.cause, entry.points, "", entry.source)),
            )
        for number, test in enumerate(rules.tests):
            for side in ("positive", "negative"):
                tests = list(rules.tests)
                weight = getattr(test, side)
                tests[number] = replace(test, **{side: weight * factor})
                yield Variation(
                    f"{test.cause} {weight:+d}: {test.finding} {side}",
                    factor,
                    replace(rules, tests=tuple(tests)),
                    partial(_is_of_family, of=(test.cause, test.family)),
                )
        for name in ("lead_at_least", "lead_by", "clear_by"):
            value = getattr(rules, name)
            yield Variation(f"{name} = {value}", factor, replace(rules, **{name: value * factor}), lambda _: True)


def _is_of(weighed: Weighed, of: tuple[str, int, str, str]) -> bool:
    return (weighed.cause, weighed.points, weighed.family, weighed.source) == of


def _is_of_family(weighed: Weighed, of: tuple[str, str]) -> bool:
    """Of a family of tests the largest weight counts: another weight of one may let another one count."""
    return (weighed.cause, weighed.family) == of


def _decisions(knowledge: Knowledge, assessment: Assessment) -> tuple[object, ...]:
    return (
        tuple(ranking.leader.id if ranking.leader else None for ranking in assessment.rankings),
        {(call.modality, call.region) for call in assessment.imaging if call.modality != "none-now"},
        {(fired.recommendation.id, fired.indicator) for fired in assessment.red_flags()},
        {call.to for call in assessment.referrals},
        _ratings(knowledge, assessment),
    )


def _ratings(knowledge: Knowledge, assessment: Assessment) -> set[tuple[bool, str, str, str]]:
    """With and without a radiograph at hand, modality, region and the best rating that holds for such an order."""
    best: dict[tuple[bool, str, str], int] = {}
    for at_hand in (True, False):
        for _presentation, rating in presentations(knowledge, assessment, at_hand):
            for region in rating.regions:
                order = at_hand, rating.modality, region
                best[order] = min(best.get(order, len(RATINGS)), RATINGS.index(rating.rating))
    return {(*order, RATINGS[place]) for order, place in best.items()}


def charts(knowledge: Knowledge) -> Iterator[tuple[str, Case]]:
    folder, reader = read_folder(FIXTURES), CaseReader(knowledge)
    services = service_registry(knowledge, lambda: folder.clock)
    for path in sorted((FIXTURES / "requests").glob("*.json")):
        if b'"hook": "patient-view"' in (body := path.read_bytes()):
            request = read_request(body, services.find(*CALL), correlation_id=path.stem)
            yield path.stem, reader.read(chart_of(request), folder.clock)


def flips(knowledge: Knowledge) -> tuple[int, list[Flip]]:
    """How many weights were varied, and every decision that one of them turns."""
    plain = Assessor(knowledge)
    ranked = []
    for name, case in charts(knowledge):
        if (assessment := plain.assess(case, asking=False)).rankings:
            counting = [weighed for _side, weighed in plain.weights(assessment)]
            ranked.append((name, case, counting, _decisions(knowledge, assessment)))
    found, varied = [], 0
    for weight, factor, rules, concerns in variations(knowledge.differential):
        varied += 1
        assessor = _varied(plain, rules)
        for name, case, counting, decisions in ranked:
            if not any(map(concerns, counting)):
                continue
            for decision, was, now in zip(
                DECISIONS,
                decisions,
                _decisions(assessor.knowledge, assessor.assess(case, asking=False)),
                strict=True,
            ):
                if was != now:
                    found.append(Flip(weight, factor, decision, name))
    return varied, found


def _varied(plain: Assessor, rules: Differential) -> Assessor:
    """An assessor by these rules of the ranking; where its tests are the same, everything that is compiled stays."""
    knowledge = replace(plain.knowledge, differential=rules)
    if rules.tests is not plain.knowledge.differential.tests:
        return Assessor(knowledge)
    # The weights of points come first, in the order of the rules.
    points, tests = (plain.kernel.weights[part] for part in (slice(len(rules.points)), slice(len(rules.points), None)))
    weights = (msgspec.structs.replace(of, points=entry.points) for of, entry in zip(points, rules.points, strict=True))
    varied = copy(plain)
    varied.knowledge = knowledge
    varied.kernel = replace(
        plain.kernel, weights=(*weights, *tests), lead_at_least=rules.lead_at_least, lead_by=rules.lead_by
    )
    return varied


def table(varied: int, found: Sequence[Flip]) -> str:
    """The whole document, of what `flips` gives."""
    rows: dict[tuple[str, float], dict[str, list[str]]] = {}
    for flip in found:
        rows.setdefault((flip.weight, flip.factor), {}).setdefault(flip.decision, []).append(flip.fixture)
    lines = [_HEAD, f"{varied} variations, {len(rows)} of them turn a decision.\n"]
    lines += [f"| weight | times | {' | '.join(DECISIONS)} |", "|---|---|" + "---|" * len(DECISIONS)]
    for (weight, factor), turned in sorted(rows.items()):
        cells = " | ".join(", ".join(turned.get(decision, ["-"])) for decision in DECISIONS)
        lines.append(f"| {weight} | {factor:g} | {cells} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write docs/sensitivity.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, say whether it is up to date")
    text = table(*flips(loader.load()))
    if not parser.parse_args(arguments).check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        sys.exit("docs/sensitivity.md is stale: run python docs/sensitivity.py")


if __name__ == "__main__":
    main()
