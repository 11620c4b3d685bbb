"""Cards, suggestions, actions and links that cannot be built wrong, and the check that each response passes.

Members without a value are left out, within an `extension` or a `resource` too: null and what is empty are prohibited
everywhere. What else lies there is the caller's and stays as it is.
Specification: CDS Service Response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import msgspec
import orjson
from marshmallow import Schema, ValidationError, fields
from msgspec import UNSET, Meta, UnsetType

from cds_hooks.errors import InternalError
from cds_hooks.schemas import load
from cds_hooks.text_forms import UUID

_SUMMARY_LENGTH = 139
_URL = re.compile(r"https?://[^\s/?#]\S*")
# What is empty in a JSON text; it also finds some of what is written in a text, which costs a second look alone.
# How an empty text, array or object is written; a text may have these characters in it, and is then left as it is.
_EMPTY = (b'""', b"[]", b"{}")
_NO_CARDS = b'{"cards":[]'
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/\S+")


class Indicator(StrEnum):
    """How urgent a card is, in rising order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def _need(holds: object, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _need_url(url: str | None, owner: str) -> None:
    _need(url is None or _URL.fullmatch(url), f"{owner} must be an absolute http or https URL")


def _need_content(value: Mapping[str, Any] | None, owner: str) -> None:
    if value is not None:
        try:
            # The writer stops at a depth: held to it as deep as a resource can lie in a response.
            text = _dump([[[[[[[value]]]]]]])[7:-7]
        except TypeError:
            raise ValueError(f"{owner} holds something that is not JSON, or is too deep") from None
        _need(not (at := _null_in(text)), f"{owner} holds null at {at}, which CDS Hooks does not allow")


def _dump(value: object) -> bytes:
    """JSON text; raises TypeError for what is not JSON."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _null_in(text: bytes) -> str | None:
    """The path of the first null in a JSON text, which is also how a number that is none (NaN) is written."""
    return _null_below(orjson.loads(text), "$") if b"null" in text else None


def _null_below(value: object, path: str) -> str | None:
    if value is None:
        return path
    if isinstance(value, dict):
        return next((at for key, inner in value.items() if (at := _null_below(inner, f"{path}.{key}"))), None)
    if isinstance(value, list):
        return next((at for place, inner in enumerate(value) if (at := _null_below(inner, f"{path}[{place}]"))), None)
    return None


def _filled(value: Any) -> Any:
    """The same without the empty texts, arrays and objects within it, and without what holds nothing else."""
    if isinstance(value, Mapping):
        return {name: inner for name, each in value.items() if (inner := _filled(each)) not in ("", [], {})}
    if isinstance(value, list | tuple):
        return [inner for each in value if (inner := _filled(each)) not in ("", [], {})]
    return value


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value or value is False}


@dataclass(frozen=True, slots=True)
class Coding:
    """A code, its code system and a text to display."""

    code: str
    system: str | None = None
    display: str | None = None

    def __post_init__(self) -> None:
        _need(self.code, "a Coding needs a code")

    def to_dict(self) -> dict[str, Any]:
        return dict(_members_of(self))


# Every card offers the same reasons.
@lru_cache(maxsize=256)
def _members_of(coding: Coding) -> Mapping[str, Any]:
    return _present(code=coding.code, system=coding.system, display=coding.display)


@dataclass(frozen=True, slots=True)
class Source:
    """Who stands behind the content of a card; `topic` groups cards and is the same from call to call."""

    label: str
    url: str | None = None
    icon: str | None = None
    topic: Coding | None = None

    def __post_init__(self) -> None:
        _need(self.label, "a Source needs a label")
        _need_url(self.url, "the url of a Source")
        _need_url(self.icon, "the icon of a Source")

    def to_dict(self) -> dict[str, Any]:
        return _present(
            label=self.label, url=self.url, icon=self.icon, topic=self.topic.to_dict() if self.topic else None
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A page, or a SMART app with its `app_context`, that the user may open from a card."""

    label: str
    url: str
    type: Literal["absolute", "smart"]
    app_context: str | None = None
    autolaunchable: bool | None = None

    def __post_init__(self) -> None:
        _need(self.label, "a Link needs a label")
        _need_url(self.url, "the url of a Link")
        _need(self.type in ("absolute", "smart"), "the type of a Link is absolute or smart")
        _need(self.type == "smart" or self.app_context is None, "only a smart Link may have an app_context")

    def to_dict(self) -> dict[str, Any]:
        return _present(
            label=self.label,
            url=self.url,
            type=self.type,
            appContext=self.app_context,
            autolaunchable=self.autolaunchable,
        )


ActionType = Literal["create", "update", "delete"]


def _check_action(owner: str, action: Action | SystemAction) -> None:
    _need(action.type in ("create", "update", "delete"), f"the type of {owner} is create, update or delete")
    if action.type == "delete":
        _need(
            action.resource_id and _REFERENCE.fullmatch(action.resource_id),
            f"{owner} that deletes needs a resource_id of the form Type/id",
        )
        _need(action.resource is None, f"{owner} that deletes has no resource")
    else:
        _need(
            action.resource and action.resource.get("resourceType"),
            f"{owner} that creates or updates needs a resource with a resourceType",
        )
    _need_content(action.resource, f"the resource of {owner}")


def _action_members(action: Action | SystemAction) -> dict[str, Any]:
    return _present(
        type=action.type,
        description=action.description,
        resource=action.resource and dict(action.resource),
        resourceId=action.resource_id,
    )


@dataclass(frozen=True, slots=True)
class Action:
    """What a suggestion changes: a whole FHIR resource to create or update, or the reference of one to delete."""

    type: ActionType
    description: str
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None

    def __post_init__(self) -> None:
        _need(self.description, "an Action needs a description")
        _check_action("an Action", self)

    def to_dict(self) -> dict[str, Any]:
        return _action_members(self)


@dataclass(frozen=True, slots=True)
class SystemAction:
    """An Action that the CDS client may apply by itself; it needs no description."""

    type: ActionType
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        _check_action("a SystemAction", self)

    def to_dict(self) -> dict[str, Any]:
        return _action_members(self)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A choice on a card; whoever takes it takes its actions."""

    label: str
    uuid: str
    actions: tuple[Action, ...] = ()
    is_recommended: bool | None = None
    action_selection_behavior: Literal["all", "any", "at-most-one"] | None = None

    def __post_init__(self) -> None:
        _need(self.label, "a Suggestion needs a label")
        _need(UUID.fullmatch(self.uuid), "the uuid of a Suggestion must be a UUID")
        _need(
            self.action_selection_behavior in (None, "all", "any", "at-most-one"),
            "the action_selection_behavior of a Suggestion is all, any or at-most-one",
        )

    def to_dict(self) -> dict[str, Any]:
        return _present(
            label=self.label,
            uuid=self.uuid,
            isRecommended=self.is_recommended,
            actions=[action.to_dict() for action in self.actions],
            actionSelectionBehavior=self.action_selection_behavior,
        )


@dataclass(frozen=True, slots=True)
class Card:
    """One piece of advice. `summary` is one line of at most 139 characters, `detail` is GitHub Flavored Markdown."""

    uuid: str
    summary: str
    indicator: Indicator
    source: Source
    detail: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: Literal["at-most-one", "any"] | None = None
    override_reasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()
    extension: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _need(UUID.fullmatch(self.uuid), "the uuid of a Card must be a UUID")
        _need(
            0 < len(self.summary) <= _SUMMARY_LENGTH and self.summary.isprintable() and not self.summary.isspace(),
            f"the summary of a Card is one line of 1 to {_SUMMARY_LENGTH} characters",
        )
        _need(isinstance(self.indicator, Indicator), "the indicator of a Card is an Indicator")
        _need(
            self.selection_behavior in (None, "at-most-one", "any"),
            "the selection_behavior of a Card is at-most-one or any",
        )
        _need(not self.suggestions or self.selection_behavior, "a Card with suggestions needs a selection_behavior")
        _need(
            self.selection_behavior != "at-most-one"
            or sum(bool(suggestion.is_recommended) for suggestion in self.suggestions) <= 1,
            "a Card of which at most one suggestion may be taken recommends at most one",
        )
        _need(all(reason.display for reason in self.override_reasons), "each override reason needs a display")
        _need_content(self.extension, "the extension of a Card")

    def to_dict(self) -> dict[str, Any]:
        return _present(
            uuid=self.uuid,
            summary=self.summary,
            detail=self.detail,
            indicator=self.indicator.value,
            source=self.source.to_dict(),
            suggestions=[suggestion.to_dict() for suggestion in self.suggestions],
            selectionBehavior=self.selection_behavior,
            overrideReasons=[reason.to_dict() for reason in self.override_reasons],
            links=[link.to_dict() for link in self.links],
            extension=self.extension and dict(self.extension),
        )


@dataclass(frozen=True, slots=True)
class HookResponse:
    """The answer to a call: cards, which may be none, and actions that the CDS client may apply by itself."""

    cards: tuple[Card, ...]
    system_actions: tuple[SystemAction, ...] = ()
    extension: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _need_content(self.extension, "the extension of a HookResponse")

    @property
    def response(self) -> HookResponse:
        """Itself: a service that hands on nothing else returns just its response; see HasResponse."""
        return self

    def to_dict(self) -> dict[str, Any]:
        return {
            "cards": [card.to_dict() for card in self.cards],
            **_present(
                systemActions=[action.to_dict() for action in self.system_actions],
                extension=self.extension and dict(self.extension),
            ),
        }


class HasResponse(Protocol):
    """What a service returns for a call: a response, and beside it whatever those who listen to calls are to know."""

    @property
    def response(self) -> HookResponse:
        """What is sent."""


_Text: TypeAlias = Annotated[str, Meta(min_length=1)]
_Url: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]")]
_Content: TypeAlias = Annotated[dict[str, Any], Meta(min_length=1)]
_Resource: TypeAlias = Annotated[dict[str, Any], Meta(min_length=1, description="A complete FHIR resource.")]
_Deleted: TypeAlias = Annotated[
    str, Meta(min_length=1, description="The reference, as Type/id, of the resource that is deleted.")
]
_Topic: TypeAlias = Annotated[
    "_CodingForm", Meta(description="The same from call to call, for clients that remember overrides by it.")
]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename="camel"):
    """The form of a part of a response. Nothing in it may be null, nothing that is there may be empty."""

    extension: _Content | UnsetType = UNSET


class _CodingForm(_Strict, kw_only=True):
    code: _Text
    system: _Text | UnsetType = UNSET
    display: _Text | UnsetType = UNSET


class _ReasonForm(_Strict, kw_only=True):
    code: _Text
    display: _Text
    system: _Text | UnsetType = UNSET


class _SourceForm(_Strict, kw_only=True):
    label: _Text
    url: _Url | UnsetType = UNSET
    icon: _Url | UnsetType = UNSET
    topic: _Topic | UnsetType = UNSET


class _LinkForm(_Strict, kw_only=True):
    """A page, or a SMART app, that the user may open from a card."""

    label: _Text
    url: _Url
    type: Literal["absolute", "smart"]
    app_context: _Text | UnsetType = UNSET
    autolaunchable: bool | UnsetType = UNSET


class _SystemActionForm(_Strict, kw_only=True):
    """An action that the client may apply by itself."""

    type: Literal["create", "update", "delete"]
    description: _Text | UnsetType = UNSET
    resource: _Resource | UnsetType = UNSET
    resource_id: _Deleted | UnsetType = UNSET


class _ActionForm(_SystemActionForm, kw_only=True):
    """What a suggestion changes: a resource to create or update, or the reference of one to delete."""

    description: _Text


class _SuggestionForm(_Strict, kw_only=True):
    """A choice on a card; whoever takes it takes its actions."""

    label: _Text
    uuid: _Text
    is_recommended: bool | UnsetType = UNSET
    actions: Annotated[list[_ActionForm], Meta(min_length=1)] | UnsetType = UNSET
    action_selection_behavior: Literal["all", "any", "at-most-one"] | UnsetType = UNSET


class _CardForm(_Strict, kw_only=True):
    """One piece of advice."""

    uuid: _Text
    summary: Annotated[str, Meta(min_length=1, max_length=_SUMMARY_LENGTH)]
    indicator: Literal["info", "warning", "critical"]
    source: _SourceForm
    detail: Annotated[str, Meta(min_length=1, description="GitHub Flavored Markdown.")] | UnsetType = UNSET
    suggestions: Annotated[list[_SuggestionForm], Meta(min_length=1)] | UnsetType = UNSET
    selection_behavior: Literal["at-most-one", "any"] | UnsetType = UNSET
    override_reasons: Annotated[list[_ReasonForm], Meta(min_length=1)] | UnsetType = UNSET
    links: Annotated[list[_LinkForm], Meta(min_length=1)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.suggestions is not UNSET and self.selection_behavior is UNSET:
            raise ValueError


def _of_form(form: Any, *, required: bool = False) -> fields.Field[Any]:
    """A member that has a form. Checked by msgspec, because nested schemas take ten times longer on a full card."""

    # msgspec prepares a form at its first use, and two threads that do so at once crash the process: prepare it now.
    msgspec.json.Decoder(form)

    def check(value: object) -> object:
        try:
            return msgspec.convert(value, form)
        except msgspec.ValidationError as problem:
            at = re.search(r"\$[^`]*", str(problem))
            raise ValidationError(f"is not of its form at {at[0] if at else '$'}") from None

    return fields.Function(deserialize=check, required=required, metadata={"form": form})


RESPONSE_SCHEMA = Schema.from_dict(
    {
        "cards": _of_form(list[_CardForm], required=True),
        "systemActions": _of_form(Annotated[list[_SystemActionForm], Meta(min_length=1)]),
        "extension": _of_form(_Content),
    },
    name="Response",
)()


def render(response: HookResponse) -> bytes:
    """The JSON text of a response that has passed RESPONSE_SCHEMA; raises InternalError for one that does not."""
    body = response.to_dict()
    try:
        load(RESPONSE_SCHEMA, body)
    except ValidationError as problem:
        member, messages = next(iter(problem.messages_dict.items()))
        raise InternalError(f"The answer of the service is not a CDS Hooks response: {member} {messages[0]}.") from None
    text = _dump(body)
    begin = len(_NO_CARDS) if text.startswith(_NO_CARDS) else 0
    if any(text.find(empty, begin) >= 0 for empty in _EMPTY):
        text = _dump({"cards": [], **_filled(body)})
    if at := _null_in(text):
        raise InternalError(f"The answer of the service is not a CDS Hooks response: null at {at}.")
    return text
