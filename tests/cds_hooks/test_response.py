import copy
import json
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from msgspec.structs import force_setattr, replace

from cds_hooks import (
    RESPONSE_SCHEMA,
    Action,
    Card,
    Coding,
    HookResponse,
    Indicator,
    InternalError,
    Link,
    Source,
    Suggestion,
    SystemAction,
)
from cds_hooks.response import JsonObject, render

UUID = "4ff60a8a-9a2c-4d28-8f0b-58a4a0ec6e05"
ORDER = {"resourceType": "ServiceRequest", "status": "draft"}
SOURCE = Source("Label")


def card(**members: Any) -> Card:
    return Card(**{"uuid": UUID, "summary": "Summary", "indicator": Indicator.INFO, "source": SOURCE, **members})


def suggestion(**members: Any) -> Suggestion:
    return Suggestion(**{"label": "Do it", "uuid": UUID, **members})


FULL = HookResponse(
    (
        card(
            detail="**Detail**",
            source=Source("L", "https://example.org/a", "https://example.org/i.png", Coding("t", "http://t", "Topic")),
            suggestions=(
                suggestion(
                    is_recommended=False,
                    actions=(
                        Action("create", "Order", ORDER),
                        Action("delete", "Remove", resource_id="ServiceRequest/1"),
                    ),
                    action_selection_behavior="any",
                ),
            ),
            selection_behavior="at-most-one",
            override_reasons=(Coding("r", "http://r", "Reason"),),
            links=(
                Link("Page", "https://example.org", "absolute", autolaunchable=True),
                Link("App", "https://example.org/launch", "smart", app_context="{}"),
            ),
            extension={"org.example.x": {"empty": [], "none": {}, "text": "", "kept": [0, False, {"a": [[]]}]}},
        ),
    ),
    system_actions=(
        SystemAction("update", resource=ORDER),
        SystemAction("delete", resource_id="Task/1", description="d"),
    ),
    extension={"org.example.y": []},
)


def _nested(deep: int, inner: Sequence[Any] = ()) -> list[Any]:
    nested = list(inner)
    for _ in range(deep):
        nested = [nested]
    return nested


def test_a_resource_that_an_action_takes_is_never_too_deep_for_a_response() -> None:
    taken = 0
    for deep in range(200, 260):
        try:
            action = Action("create", "d", {**ORDER, "deep": _nested(deep)})
        except ValueError:
            continue
        offer = suggestion(actions=(action,))
        render(HookResponse((card(suggestions=(offer,), selection_behavior="any"),)))
        taken += 1
    assert 0 < taken < 60


@pytest.mark.parametrize("empty", ["", [], {}, [[]], {"a": ""}, [{"b": []}], _nested(30)])
def test_what_is_empty_is_sent_nowhere(empty: Any) -> None:
    order = {**ORDER, "note": empty, "n": orjson.Fragment("1.50")}
    offer = suggestion(actions=(Action("create", "d", order),))
    extension = {"org.example.y": {"why": empty, "text": 'says ":[]" and {}'}}
    shown = card(suggestions=(offer,), selection_behavior="any", extension={"org.example.x": empty})
    sent = render(HookResponse((shown,), (SystemAction("update", resource=order),), extension=extension))
    assert sent.count(b'"n":1.50') == 2
    body = json.loads(sent)
    assert body["extension"] == {"org.example.y": {"text": 'says ":[]" and {}'}}
    assert "extension" not in body["cards"][0]
    assert "note" not in body["systemActions"][0]["resource"]
    assert json.loads(render(HookResponse((), extension={"org.example.y": empty}))) == {"cards": []}


def test_a_number_that_is_given_as_its_text_is_sent_as_that_text() -> None:
    order = {**ORDER, "n": [orjson.Fragment("1.50"), orjson.Fragment("-0")]}
    assert b'"n":[1.50,-0]' in render(HookResponse((), (SystemAction("update", resource=order),)))


def test_a_full_response_becomes_what_the_specification_describes() -> None:
    assert json.loads(render(FULL)) == {
        "cards": [
            {
                "uuid": UUID,
                "summary": "Summary",
                "detail": "**Detail**",
                "indicator": "info",
                "source": {
                    "label": "L",
                    "url": "https://example.org/a",
                    "icon": "https://example.org/i.png",
                    "topic": {"code": "t", "system": "http://t", "display": "Topic"},
                },
                "suggestions": [
                    {
                        "label": "Do it",
                        "uuid": UUID,
                        "isRecommended": False,
                        "actions": [
                            {"type": "create", "description": "Order", "resource": ORDER},
                            {"type": "delete", "description": "Remove", "resourceId": "ServiceRequest/1"},
                        ],
                        "actionSelectionBehavior": "any",
                    }
                ],
                "selectionBehavior": "at-most-one",
                "overrideReasons": [{"code": "r", "system": "http://r", "display": "Reason"}],
                "links": [
                    {"label": "Page", "url": "https://example.org", "type": "absolute", "autolaunchable": True},
                    {"label": "App", "url": "https://example.org/launch", "type": "smart", "appContext": "{}"},
                ],
                "extension": {"org.example.x": {"kept": [0, False]}},
            }
        ],
        "systemActions": [
            {"type": "update", "resource": ORDER},
            {"type": "delete", "description": "d", "resourceId": "Task/1"},
        ],
    }


def test_members_without_a_value_are_left_out() -> None:
    only = {"uuid": UUID, "summary": "Summary", "indicator": "info", "source": {"label": "Label"}}
    without = card(detail="", source=Source("Label", topic=None), links=(), extension={"org.example.x": {}})
    assert [json.loads(render(HookResponse((each,)))) for each in (card(), without)] == [{"cards": [only]}] * 2
    bare = SystemAction("delete", "", resource_id="Task/1")
    assert json.loads(render(HookResponse((), (bare,)))) == {
        "cards": [],
        "systemActions": [{"type": "delete", "resourceId": "Task/1"}],
    }
    codes = (Coding("c", "", "Display"), Coding("c", display="Display"))
    assert codes[0] == codes[1]
    assert Link("App", "https://example.org", "smart", "") == Link("App", "https://example.org", "smart")


def test_an_answer_without_advice_is_an_empty_array_of_cards() -> None:
    assert render(HookResponse(())) == b'{"cards":[]}'


def test_frozen_mappings_are_sent_like_dicts() -> None:
    frozen = MappingProxyType({"resourceType": "Task", "x": MappingProxyType({"a": 1})})
    response = HookResponse((), (SystemAction("create", resource=frozen),), extension=frozen)
    assert json.loads(render(response))["systemActions"][0]["resource"] == {"resourceType": "Task", "x": {"a": 1}}


@pytest.mark.parametrize("summary", ["x", "x" * 139, "Käse 🧀"])
def test_a_summary_has_up_to_139_characters(summary: str) -> None:
    assert card(summary=summary).summary == summary


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Coding(""), "needs a code"),
        (lambda: Source(""), "needs a label"),
        (lambda: Source("L", url="example.org"), "url of a Source"),
        (lambda: Source("L", icon="ftp://example.org/i.png"), "icon of a Source"),
        (lambda: Link("", "https://example.org", "absolute"), "needs a label"),
        (lambda: Link("L", "/relative", "absolute"), "url of a Link"),
        (lambda: Link("L", "javascript:alert(1)", "absolute"), "url of a Link"),
        (lambda: Link("L", "https://", "absolute"), "url of a Link"),
        (lambda: Link("L", "https://example.org/a b", "absolute"), "url of a Link"),
        (lambda: Link("L", "https://example.org", "other"), "absolute or smart"),  # type: ignore[arg-type]
        (lambda: Link("L", "https://example.org", "absolute", app_context="x"), "only a smart Link"),
        (lambda: Action("create", "", ORDER), "needs a description"),
        (lambda: Action("create", "d"), "resourceType"),
        (lambda: Action("update", "d", {"id": "1"}), "resourceType"),
        (lambda: Action("update", "d", resource_id="Task/1"), "resourceType"),
        (lambda: Action("delete", "d"), "resource_id"),
        (lambda: Action("delete", "d", resource_id="1"), "resource_id"),
        (lambda: Action("delete", "d", ORDER, "Task/1"), "no resource"),
        (lambda: Action("CREATE", "d", ORDER), "create, update or delete"),  # type: ignore[arg-type]
        (lambda: Action("create", "d", {**ORDER, "note": [None]}), "null at $.note[0]"),
        (lambda: Action("create", "d", {**ORDER, "n": float("nan")}), "null at $.n"),
        (lambda: Action("create", "d", {**ORDER, "deep": _nested(30, [None])}), "null at $.deep[0][0]"),
        (lambda: Action("create", "d", {**ORDER, "o": object()}), "not JSON"),
        (lambda: Action("create", "d", {**ORDER, "deep": _nested(250)}), "too deep"),
        (lambda: SystemAction("create"), "resourceType"),
        (lambda: SystemAction("delete"), "resource_id"),
        (lambda: suggestion(label=""), "needs a label"),
        (lambda: suggestion(uuid="1"), "must be a UUID"),
        (lambda: suggestion(action_selection_behavior="some"), "action_selection_behavior"),
        (lambda: card(uuid="card-1"), "must be a UUID"),
        (lambda: card(summary=""), "one line of 1 to 139"),
        (lambda: card(summary="  "), "one line of 1 to 139"),
        (lambda: card(summary="x" * 140), "one line of 1 to 139"),
        (lambda: card(summary="two\nlines"), "one line of 1 to 139"),
        (lambda: card(indicator="success"), "is an Indicator"),
        (lambda: card(suggestions=(suggestion(),)), "selection_behavior"),
        (lambda: card(selection_behavior="all"), "at-most-one or any"),
        (
            lambda: card(suggestions=(suggestion(is_recommended=True),) * 2, selection_behavior="at-most-one"),
            "recommends at most one",
        ),
        (lambda: card(override_reasons=(Coding("r"),)), "needs a display"),
        (lambda: card(extension={"a": {"b": None}}), "null at $.a.b"),
        (lambda: HookResponse((), extension={"a": None}), "null at $.a"),
    ],
)
def test_nothing_can_be_built_wrong(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z].*") as problem:
        build()
    assert said in str(problem.value)


def test_several_suggestions_may_be_recommended_where_any_may_be_taken() -> None:
    two = (suggestion(is_recommended=True),) * 2
    assert card(suggestions=two, selection_behavior="any").suggestions == two


def at(body: Any, path: str) -> tuple[Any, Any]:
    """The container and the key of the last step of a path such as cards.0.source."""
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        body = body[step]
    return body, last


MEMBERS = [
    "cards",
    "cards.0",
    "cards.0.uuid",
    "cards.0.summary",
    "cards.0.detail",
    "cards.0.indicator",
    "cards.0.source",
    "cards.0.source.label",
    "cards.0.source.url",
    "cards.0.source.icon",
    "cards.0.source.topic",
    "cards.0.source.topic.code",
    "cards.0.suggestions",
    "cards.0.suggestions.0.label",
    "cards.0.suggestions.0.uuid",
    "cards.0.suggestions.0.isRecommended",
    "cards.0.suggestions.0.actions",
    "cards.0.suggestions.0.actions.0.type",
    "cards.0.suggestions.0.actions.0.description",
    "cards.0.suggestions.0.actions.0.resource",
    "cards.0.suggestions.0.actions.1.resourceId",
    "cards.0.suggestions.0.actionSelectionBehavior",
    "cards.0.selectionBehavior",
    "cards.0.overrideReasons",
    "cards.0.overrideReasons.0.code",
    "cards.0.overrideReasons.0.display",
    "cards.0.links",
    "cards.0.links.0.label",
    "cards.0.links.0.url",
    "cards.0.links.0.type",
    "cards.0.links.0.autolaunchable",
    "cards.0.links.1.appContext",
    "cards.0.extension",
    "systemActions",
    "systemActions.0.type",
    "extension",
]


@pytest.mark.parametrize("path", MEMBERS)
@pytest.mark.parametrize("instead", [None, "", [], {}, 5])
def test_the_schema_refuses_null_empty_and_mistyped_members(path: str, instead: Any) -> None:
    body = json.loads(render(FULL))
    container, last = at(body, path)
    if path == "cards" and instead == []:
        return
    container[last] = instead
    assert RESPONSE_SCHEMA.validate(body)


@pytest.mark.parametrize(
    "path",
    [
        "cards",
        "cards.0.uuid",
        "cards.0.summary",
        "cards.0.indicator",
        "cards.0.source",
        "cards.0.source.label",
        "cards.0.selectionBehavior",
        "cards.0.suggestions.0.label",
        "cards.0.suggestions.0.actions.0.type",
        "cards.0.suggestions.0.actions.0.description",
        "cards.0.overrideReasons.0.display",
        "cards.0.links.0.url",
        "systemActions.0.type",
    ],
)
def test_the_schema_refuses_a_response_without_a_required_member(path: str) -> None:
    body = json.loads(render(FULL))
    container, last = at(body, path)
    del container[last]
    assert RESPONSE_SCHEMA.validate(body)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cards.0.summary", "x" * 140),
        ("cards.0.indicator", "success"),
        ("cards.0.source.url", "example.org"),
        ("cards.0.links.0.type", "deep"),
        ("cards.0.selectionBehavior", "all"),
        ("cards.0.suggestions.0.actions.0.type", "CREATE"),
        ("cards.0.unknown", "x"),
        ("unknown", "x"),
    ],
)
def test_the_schema_refuses_what_the_specification_does_not_know(path: str, value: Any) -> None:
    body = json.loads(render(FULL))
    container, last = at(body, path)
    container[last] = value
    assert RESPONSE_SCHEMA.validate(body)


def test_the_schema_accepts_what_the_classes_build() -> None:
    assert RESPONSE_SCHEMA.validate(json.loads(render(FULL))) == {}
    assert RESPONSE_SCHEMA.validate({"cards": []}) == {}


def test_what_was_done_to_content_after_a_response_was_built_is_not_sent() -> None:
    extension: dict[str, Any] = {"a": {"b": 1}}
    order: dict[str, Any] = {**ORDER}
    response = HookResponse((), (SystemAction("update", resource=order),), extension=extension)
    built = render(response)
    extension["a"]["b"] = None
    order["status"] = ""
    assert render(response) == built


def test_content_is_encoded_once_however_often_a_card_is_put_otherwise() -> None:
    extension = JsonObject({"org.example.x": JsonObject({"a": 1})}, "a part")
    assert extension.text == b'{"org.example.x":{"a":1}}'
    shown = card(extension=extension)
    assert shown.extension is extension
    assert replace(shown, summary="Otherwise").extension is extension
    assert dict(extension) == {"org.example.x": {"a": 1}}
    with pytest.raises(ValueError, match=r"a part holds null at \$\.a"):
        JsonObject({"a": None}, "a part")


def test_a_response_that_was_spoiled_after_it_was_built_is_not_sent() -> None:
    broken = copy.copy(card())
    force_setattr(broken, "summary", "secret " * 40)
    with pytest.raises(InternalError, match=r"cards is not of its form at \$\[0\]\.summary") as problem:
        render(HookResponse((broken,)))
    assert "secret" not in problem.value.diagnostics
