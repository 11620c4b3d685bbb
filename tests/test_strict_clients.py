"""With `extensions = "off"` every answer is what strict client libraries parse: HealthChain 0.16.0
(healthchain/models/responses/cdsresponse.py) and cds-hooks-go of 2026-03-12 (cdshooks/card.go, cdshooks/response.go).

The classes here have the members and types that both take. A member with no default is one that HealthChain refuses to
miss; what has no place here one of them refuses.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import msgspec
import pytest

from fixtures.build import HERE, in_dialect
from service.commands.replay import answers, in_process, read_folder
from service.settings import EHR_PROFILES
from tests.charts import Json, named_cases


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Coding(Strict):
    code: str
    system: str
    display: str | None = None


class Source(Strict):
    label: str
    url: str | None = None
    icon: str | None = None
    topic: Coding | None = None


class Action(Strict):
    type: Literal["create", "update", "delete"]
    description: str
    resource: dict[str, Any] | None = None
    resourceId: str | None = None  # noqa: N815

    def __post_init__(self) -> None:
        # HealthChain asserts it, and asks for nothing else.
        if not (self.resourceId if self.type == "delete" else self.resource):
            raise ValueError(self.type)


class Suggestion(Strict):
    label: str
    isRecommended: bool  # noqa: N815
    uuid: str | None = None
    actions: list[Action] = []


class Card(Strict):
    """Without links: HealthChain wants their `autolaunchable` under a name that CDS Hooks does not have."""

    summary: str
    indicator: Literal["info", "warning", "critical"]
    source: Source
    uuid: str | None = None
    detail: str | None = None
    suggestions: list[Suggestion] | None = None
    selectionBehavior: Literal["at-most-one", "any"] | None = None  # noqa: N815
    overrideReasons: list[Coding] | None = None  # noqa: N815

    def __post_init__(self) -> None:
        if len(self.summary) > 140 or (self.suggestions and not self.selectionBehavior):
            raise ValueError(self.summary)


class Answer(Strict):
    cards: list[Card]
    systemActions: list[Action] = []  # noqa: N815


@cache
def answered(ehr: str) -> dict[str, Json]:
    """The answers to the fixtures, in a dialect to those that are kept in it; orders that are signed are rated."""
    folder = read_folder(HERE)
    if ehr in (path.name for path in (HERE / "dialects").iterdir()):
        kept = {case.path for case in named_cases() if ehr in case.dialects}
        folder = replace(folder, requests={name: folder.requests[name] for name in kept})
    settings = replace(in_dialect(ehr), extensions="off", pama_rating="on")
    return dict(answers(folder, in_process(settings, folder.clock)))


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_strict_client_libraries_parse_every_answer(ehr: str) -> None:
    parsed = []
    for name, answer in answered(ehr).items():
        try:
            parsed.append(msgspec.convert(answer, Answer))
        except msgspec.ValidationError as problem:
            pytest.fail(f"{name}: {problem}")
    assert any(each.systemActions for each in parsed)
    assert any(card.suggestions for each in parsed for card in each.cards)


def test_the_address_of_the_page_that_says_why_stays_on_every_card() -> None:
    for name, answer in answered("generic").items():
        kept = json.loads((HERE / "responses" / f"{name}.json").read_text("utf-8"))
        urls = [[card["source"].get("url") for card in each["cards"]] for each in (answer, kept)]
        assert urls[0] == urls[1]
