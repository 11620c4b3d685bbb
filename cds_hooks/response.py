"""Cards, suggestions, actions and links that cannot be built wrong, and the check that each response passes.

Members without a value are left out, within an `extension` or a `resource` too: null and what is empty are prohibited
everywhere. What else lies there is the caller's and stays as it is.
Specification: CDS Service Response.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import msgspec
import orjson
from marshmallow import Schema, ValidationError, fields
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import force_setattr

from cds_hooks.errors import InternalError
from cds_hooks.schemas import load
from cds_hooks.text_forms import UUID

_SUMMARY_LENGTH = 139
_URL = re.compile(r"https?://[^\s/?#]\S*")
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


class JsonObject(Mapping[str, Any]):
    """What lies in an `extension` or a `resource`: it reads like the mapping that it is made of, and is checked and
    encoded once, when it is made. What is the same in many answers can be made before the first of them.

    `text` is JSON without what is empty: null, empty texts, arrays and objects are prohibited in a response (Use of
    JSON). Raises ValueError for null and what is not JSON; `owner` says of what it is.
    """

    __slots__ = ("_members", "text")

    def __init__(self, members: Mapping[str, Any], owner: str = "the content") -> None:
        try:
            # The writer stops at a depth: held to it as deep as a resource can lie in a response.
            text = _dump([[[[[[[members]]]]]]])[7:-7]
        except TypeError:
            raise ValueError(f"{owner} holds something that is not JSON, or is too deep") from None
        _need(not (at := _null_in(text)), f"{owner} holds null at {at}, which CDS Hooks does not allow")
        # A text may have these characters in it, and is then left as it is.
        if b'""' in text or b"[]" in text or b"{}" in text:
            text = _dump(_filled(members))
        self._members, self.text = members, text

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _dump(value: object) -> bytes:
    """JSON text; raises TypeError for what is not JSON."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, JsonObject):
        return orjson.Fragment(value.text)
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


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A part of a response. Its members stand in the order in which they are sent, without those that have no value."""

    def _leave_out_empty(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) == "":
                force_setattr(self, name, None)

    def _fill(self, name: str, owner: str) -> None:
        """Have a member with content checked and encoded, unless it has been."""
        members = getattr(self, name)
        if members is not None and not isinstance(members, JsonObject):
            content = JsonObject(members, f"the {name} of {owner}")
            force_setattr(self, name, content if content.text != b"{}" else None)


class Coding(_Part, frozen=True):
    """A code, its code system and a text to display."""

    code: str
    system: str | None = None
    display: str | None = None

    def __post_init__(self) -> None:
        _need(self.code, "a Coding needs a code")
        self._leave_out_empty("system", "display")


class Source(_Part, frozen=True):
    """Who stands behind the content of a card; `topic` groups cards and is the same from call to call."""

    label: str
    url: str | None = None
    icon: str | None = None
    topic: Coding | None = None

    def __post_init__(self) -> None:
        _need(self.label, "a Source needs a label")
        _need_url(self.url, "the url of a Source")
        _need_url(self.icon, "the icon of a Source")


class Link(_Part, frozen=True):
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
        self._leave_out_empty("app_context")


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
    action._fill("resource", owner)  # noqa: SLF001 - of this module


class Action(_Part, frozen=True):
    """What a suggestion changes: a whole FHIR resource to create or update, or the reference of one to delete."""

    type: ActionType
    description: str
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None

    def __post_init__(self) -> None:
        _need(self.description, "an Action needs a description")
        _check_action("an Action", self)


class SystemAction(_Part, frozen=True):
    """An Action that the CDS client may apply by itself; it needs no description."""

    type: ActionType
    description: str | None = None
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None

    def __post_init__(self) -> None:
        _check_action("a SystemAction", self)
        self._leave_out_empty("description")


class Suggestion(_Part, frozen=True):
    """A choice on a card; whoever takes it takes its actions."""

    label: str
    uuid: str
    is_recommended: bool | None = None
    actions: tuple[Action, ...] = ()
    action_selection_behavior: Literal["all", "any", "at-most-one"] | None = None

    def __post_init__(self) -> None:
        _need(self.label, "a Suggestion needs a label")
        _need(UUID.fullmatch(self.uuid), "the uuid of a Suggestion must be a UUID")
        _need(
            self.action_selection_behavior in (None, "all", "any", "at-most-one"),
            "the action_selection_behavior of a Suggestion is all, any or at-most-one",
        )


class Card(_Part, frozen=True, kw_only=True):
    """One piece of advice. `summary` is one line of at most 139 characters, `detail` is GitHub Flavored Markdown."""

    uuid: str
    summary: str
    detail: str | None = None
    indicator: Indicator
    source: Source
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
        self._leave_out_empty("detail")
        self._fill("extension", "a Card")


class HookResponse(_Part, frozen=True):
    """The answer to a call: cards, which may be none, and actions that the CDS client may apply by itself."""

    cards: tuple[Card, ...]
    system_actions: tuple[SystemAction, ...] = ()
    extension: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._fill("extension", "a HookResponse")

    @property
    def response(self) -> HookResponse:
        """Itself: a service that hands on nothing else returns just its response; see HasResponse."""
        return self


class HasResponse(Protocol):
    """What a service returns for a call: a response, and beside it whatever those who listen to calls are to know."""

    @property
    def response(self) -> HookResponse:
        """What is sent."""


_Text: TypeAlias = Annotated[str, Meta(min_length=1)]
_Url: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]")]
_Content: TypeAlias = Annotated[dict[str, msgspec.Raw], Meta(min_length=1)]
_Resource: TypeAlias = Annotated[dict[str, msgspec.Raw], Meta(min_length=1, description="A complete FHIR resource.")]
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
    """A member that has a form. Checked by msgspec, because nested schemas take ten times longer on a full card; what
    is encoded already is checked as it will be sent.
    """

    # msgspec prepares a form at its first use, and two threads that do so at once crash the process: prepare it now.
    decoder = msgspec.json.Decoder(form)

    def check(value: object) -> object:
        try:
            return decoder.decode(value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value))
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


def _text_of(content: JsonObject) -> msgspec.Raw:
    return msgspec.Raw(content.text)


_ENCODER = msgspec.json.Encoder(enc_hook=_text_of)


def render(response: HookResponse) -> bytes:
    """The JSON text of a response that has passed RESPONSE_SCHEMA; raises InternalError for one that does not."""
    parts = {"cards": response.cards, "systemActions": response.system_actions, "extension": response.extension}
    members = {name: msgspec.Raw(_ENCODER.encode(part)) for name, part in parts.items() if part or name == "cards"}
    try:
        load(RESPONSE_SCHEMA, members)
    except ValidationError as problem:
        member, messages = next(iter(problem.messages_dict.items()))
        raise InternalError(f"The answer of the service is not a CDS Hooks response: {member} {messages[0]}.") from None
    return msgspec.json.encode(members)
