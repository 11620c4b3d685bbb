"""The table of checks: what an answer must be, by the chapter of the specification that says so.

A check reads what was observed and yields a line for each thing that is wrong, with where it is and the JSON types that
were received, never a value of an answer. Specification: the chapter that each check names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from cds_hooks.conformance import fhir
from cds_hooks.conformance.observing import ORIGIN, Answer, Kind, Observations
from cds_hooks.hooks import HOOKS, is_hook_name
from cds_hooks.prefetch import lint_template
from cds_hooks.text_forms import UUID, is_loopback

_SUMMARY = 140
_SECONDS = 0.5
_URL = re.compile(r"https?://[^\s/?#]\S*")
_ID = re.compile(r"[A-Za-z0-9._~-]+")
# A semantic version since the 3.0.0 ballot, before that the name of a trial use.
_VERSION = re.compile(r"STU[123]|\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_CONTEXT_TOKEN = re.compile(r"\{\{context\.([A-Za-z][\w-]*)")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]+")
# Tags, comments and declarations as CommonMark has them; what stands in code or behind a backslash is shown as it is.
_HTML = re.compile(r"<(?:/?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?|![A-Z-][^<>]*)>")
_CODE = re.compile(r"(?<!`)(`+)(?!`)[\s\S]*?(?<!`)\1(?!`)")
_SCRIPT_LINK = re.compile(r"(?:\]\(|\]:)\s*<?\s*(?:javascript|vbscript|data):", re.IGNORECASE)
_MARKDOWN = re.compile(r"\*\*[^*\s][^*]*\*\*|(?<!\w)__[^_\s][^_]*__(?!\w)|\[[^\]\[]+\]\([^()\s]+\)|^#{1,6} ")
# So much of a text is looked at.
_READ = 20_000
_JSON_TYPES = ("application/json", "application/fhir+json")
_ANSWERING = (Kind.VALID, Kind.GIVEN, Kind.TOLERATED)
_MEMBERS = {
    "card": {
        "uuid",
        "summary",
        "detail",
        "indicator",
        "source",
        "suggestions",
        "selectionBehavior",
        "overrideReasons",
        "links",
    },
    "source": {"label", "url", "icon", "topic"},
    "suggestion": {"label", "uuid", "isRecommended", "actions", "actionSelectionBehavior"},
    "action": {"type", "description", "resource", "resourceId"},
    "link": {"label", "url", "type", "appContext", "autolaunchable"},
    "response": {"cards", "systemActions"},
}


class Level(StrEnum):
    """What the specification says of it: that it must be so, or that it should."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"


class Status(StrEnum):
    """What came of a check. A recommendation that is not followed is warned of; what cannot be told is skipped."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"


class _NotApplicable(Exception):  # noqa: N818 - no error
    """There is nothing, or not all, that the check could look at; its arguments are the lines that say why."""


@dataclass(frozen=True)
class Check:
    """One row of the table. `expects` is a sentence about a service that passes."""

    name: str
    chapter: str
    level: Level
    expects: str
    examine: Callable[[Observations], Iterable[str]]


@dataclass(frozen=True)
class Result:
    """What came of one check; `problems` has a line for each thing that is wrong, or why the check was skipped."""

    check: Check
    status: Status
    problems: tuple[str, ...] = ()


_TABLE: list[Check] = []
_Examine = Callable[[Observations], Iterable[str]]


def _check(name: str, chapter: str, level: Level, expects: str) -> Callable[[_Examine], _Examine]:
    def enter(examine: _Examine) -> _Examine:
        _TABLE.append(Check(name, chapter, level, expects, examine))
        return examine

    return enter


def judge(observations: Observations) -> tuple[Result, ...]:
    """What comes of each check of the table, in its order."""
    return tuple(_judged(check, observations) for check in CHECKS)


def _judged(check: Check, observations: Observations) -> Result:
    try:
        problems = _printable(check.examine(observations))
    except _NotApplicable as reason:
        return Result(check, Status.SKIPPED, _printable(reason.args))
    if not problems:
        return Result(check, Status.PASSED)
    return Result(check, Status.FAILED if check.level is Level.REQUIRED else Status.WARNED, problems)


def _printable(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, as the same is often wrong on every card; what others call their things may not be printable."""
    return tuple(dict.fromkeys("".join(filter(str.isprintable, line)) for line in lines))


def _type(value: object) -> str:
    names: tuple[tuple[Any, str], ...] = (
        (type(None), "null"),
        (bool, "a boolean"),
        (str, "a string"),
        ((int, float), "a number"),
        (list, "an array"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "an object")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _need_text(at: str, owner: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        if not _is_text(owner.get(name)):
            received = f"received {_type(owner[name])}" if name in owner else "is missing"
            yield f"{at}.{name}: expected a string that is not empty, {'it ' if name not in owner else ''}{received}"


def _some(items: Iterator[Any], otherwise: str) -> Iterator[Any]:
    """The items; where there is none, the check does not apply."""
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise _NotApplicable(otherwise)


# ---------------------------------------------------------------------------------------------------------------------
# Transport

_SECURITY = "Security and Safety"


@_check("https", _SECURITY, Level.REQUIRED, "All data is exchanged over HTTPS.")
def _https(seen: Observations) -> Iterator[str]:
    parts = urlsplit(seen.url)
    if parts.scheme != "https" and is_loopback(parts.hostname):
        raise _NotApplicable("a loopback address is tried without")
    if parts.scheme != "https":
        yield "the address does not begin with https"


@_check("answers", "Calling a CDS Service", Level.REQUIRED, "Every call gets an answer.")
def _answers(seen: Observations) -> Iterator[str]:
    unanswered = [each for each in seen.of() if each.answer is None]
    yield from (f"{each.what}: {each.failure}" for each in unanswered if each.sent)
    for reason, number in Counter(each.failure for each in unanswered if not each.sent).items():
        yield f"{number} calls were not sent: {reason}"


@_check(
    "response-time",
    "Providing FHIR Resources to a CDS Service",
    Level.RECOMMENDED,
    "A call takes in the order of 500 milliseconds.",
)
def _response_time(seen: Observations) -> Iterator[str]:
    for what, answer in seen.answered(Kind.VALID, Kind.GIVEN):
        if answer.seconds > _SECONDS:
            yield f"{what}: {answer.seconds * 1000:.0f} ms"


# ---------------------------------------------------------------------------------------------------------------------
# Discovery

_DISCOVERY = "Discovery"


def _discovery(seen: Observations) -> Answer:
    return next(answer for _what, answer in seen.answered(Kind.DISCOVERY))


def _services(seen: Observations) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry that is an object, with where it is."""
    discovered = _discovery(seen).json
    listed = discovered.get("services") if isinstance(discovered, dict) else None
    found = ((f"services[{n}]", entry) for n, entry in enumerate(listed if isinstance(listed, list) else ()))
    return _some((each for each in found if isinstance(each[1], dict)), "discovery has no entry that can be read")


@_check("discovery-status", _DISCOVERY, Level.REQUIRED, "GET {base}/cds-services answers with 200.")
def _discovery_status(seen: Observations) -> Iterator[str]:
    status = _discovery(seen).status
    if status in (401, 403):
        yield f"status {status}: it asks for a token; give one with --token, or --key and --iss"
    elif status != 200:
        yield f"status {status}"


@_check("discovery-shape", _DISCOVERY, Level.REQUIRED, "Discovery is an object with an array of objects, services.")
def _discovery_shape(seen: Observations) -> Iterator[str]:
    answer = _discovery(seen)
    if answer.content_type not in _JSON_TYPES:
        yield "Content-Type: expected application/json, received another"
    discovered = answer.json
    if not isinstance(discovered, dict):
        yield "body: expected a JSON object"
    elif not isinstance(discovered.get("services"), list):
        yield f"services: expected an array, received {_type(discovered.get('services'))}"
    else:
        for number, entry in enumerate(discovered["services"]):
            if not isinstance(entry, dict):
                yield f"services[{number}]: expected an object, received {_type(entry)}"


@_check("discovery-members", _DISCOVERY, Level.REQUIRED, "Each service has hook, description and id.")
def _discovery_members(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        yield from _need_text(at, entry, "hook", "description", "id")
        for name in ("title", "usageRequirements", "version", "hookVersion"):
            if name in entry and not isinstance(entry[name], str):
                yield f"{at}.{name}: expected a string, received {_type(entry[name])}"


@_check(
    "discovery-recommended", _DISCOVERY, Level.RECOMMENDED, "Each service has a title, and the version of CDS Hooks."
)
def _discovery_recommended(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        yield from _need_text(at, entry, "title")
        version = entry.get("version")
        if not (isinstance(version, str) and _VERSION.fullmatch(version)):
            yield f"{at}.version: expected a semantic version as 3.0.0, or one of STU1, STU2, STU3"


@_check("discovery-null", "Use of JSON", Level.REQUIRED, "Members without a value are left out, not null or empty.")
def _discovery_null(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        yield from _null_in(entry, at)


@_check("discovery-extension", "Extensions", Level.REQUIRED, "An extension is an object.")
def _discovery_extension(seen: Observations) -> Iterator[str]:
    yield from _extensions([("discovery", _discovery(seen).json), *_services(seen)])


@_check("discovery-id", _DISCOVERY, Level.REQUIRED, "An id can be part of a URL as it is.")
def _discovery_id(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        if _is_text(entry.get("id")) and not _ID.fullmatch(entry["id"]):
            yield f"{at}.id: expected letters, digits and . _ ~ - only"


@_check("discovery-unique", _DISCOVERY, Level.REQUIRED, "No two services share id and hook.")
def _discovery_unique(seen: Observations) -> Iterator[str]:
    counted = Counter((str(entry.get("id")), str(entry.get("hook"))) for _at, entry in _services(seen))
    yield from (f"{id_} is there {count} times for {hook}" for (id_, hook), count in counted.items() if count > 1)


@_check(
    "discovery-one-id",
    _DISCOVERY,
    Level.RECOMMENDED,
    "Each entry has an id of its own: one for several hooks is allowed, and many clients keep one service for an id.",
)
def _discovery_one_id(seen: Observations) -> Iterator[str]:
    hooks: dict[str, dict[str, None]] = {}
    for _at, entry in _services(seen):
        hooks.setdefault(str(entry.get("id")), {})[str(entry.get("hook"))] = None
    yield from (f"{id_} is on {' and '.join(each)}" for id_, each in hooks.items() if len(each) > 1)


@_check("discovery-hook", "Hooks", Level.REQUIRED, "A hook is one of the library, or is named by reverse domain name.")
def _discovery_hook(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        if _is_text(entry.get("hook")) and not is_hook_name(entry["hook"]):
            yield f"{at}.hook: expected the name of a hook of the library or a reverse domain name"


_TEMPLATES = "Prefetch Template"


def _templates(seen: Observations) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Where, the entry and the text of each prefetch template that is a text."""
    found = (
        (f"{at}.prefetch.{key}", entry, text)
        for at, entry in _services(seen)
        if isinstance(entry.get("prefetch"), dict)
        for key, text in entry["prefetch"].items()
        if isinstance(text, str)
    )
    return _some(found, "no service asks for prefetch")


@_check("prefetch-shape", _TEMPLATES, Level.REQUIRED, "prefetch is an object whose values are texts.")
def _prefetch_shape(seen: Observations) -> Iterator[str]:
    for at, entry in _services(seen):
        templates = entry.get("prefetch", {})
        if not isinstance(templates, dict):
            yield f"{at}.prefetch: expected an object, received {_type(templates)}"
            continue
        for key, text in templates.items():
            if not _is_text(text):
                yield f"{at}.prefetch.{key}: expected a string that is not empty, received {_type(text)}"


@_check("prefetch-tokens", "Prefetch Tokens", Level.REQUIRED, "A token names a member of the context of its hook.")
def _prefetch_tokens(seen: Observations) -> Iterator[str]:
    for at, entry, text in _templates(seen):
        hook = HOOKS.get(str(entry.get("hook")))
        for member in _CONTEXT_TOKEN.findall(text) if hook else ():
            if hook and member not in hook.schema.fields:
                yield f"{at}: {{{{context.{member}}}}} is no member of the context of {hook.name}"


@_check(
    "prefetch-restrictions",
    "Prefetch query restrictions",
    Level.RECOMMENDED,
    "Templates stay within what every client can resolve.",
)
def _prefetch_restrictions(seen: Observations) -> Iterator[str]:
    for at, _entry, text in _templates(seen):
        yield from (f"{at}: {problem}" for problem in lint_template(text))


# ---------------------------------------------------------------------------------------------------------------------
# Calls

_CALLING = "Calling a CDS Service"
_STATUS = "HTTP Status Codes"


def _calls(seen: Observations, *kinds: Kind) -> Iterator[tuple[str, Answer]]:
    return _some(seen.answered(*kinds), "there is no service that could be called")


@_check("call-status", _STATUS, Level.REQUIRED, "A sound call gets 200, or 412 where data is wanted that it lacks.")
def _call_status(seen: Observations) -> Iterator[str]:
    for what, answer in _calls(seen, Kind.VALID, Kind.GIVEN):
        if answer.status not in (200, 412):
            yield f"{what}: status {answer.status}"


@_check("given-requests", _CALLING, Level.REQUIRED, "Each request that was given could be sent to a service.")
def _given_requests(seen: Observations) -> Iterable[str]:
    if not seen.given:
        raise _NotApplicable("no request was given; name a folder of them with --requests")
    hooks = [entry["hook"] for entry in seen.entries]
    unsent = [f"{name}: it is for {hook}" for name, hook in seen.given if hook not in hooks]
    if unsent:
        # What is not sent tells nothing of the service, neither good nor bad.
        raise _NotApplicable(f"{len(unsent)} of {len(seen.given)} not sent, as no service has their hook:", *unsent)
    return ()


@_check("call-extensions", "Extensions", Level.REQUIRED, "Extensions and members that are not known change nothing.")
def _call_extensions(seen: Observations) -> Iterator[str]:
    plain = {id(each.call.entry): each.answer.status for each in seen.of(Kind.VALID) if each.answer}
    for each in _some(seen.of(Kind.TOLERATED), "there is no service that could be called"):
        before = plain.get(id(each.call.entry))
        if each.answer and before is not None and each.answer.status != before:
            yield f"{each.what}: status {each.answer.status}, and {before} without them"


@_check(
    "call-without-prefetch",
    "Providing FHIR Resources to a CDS Service",
    Level.REQUIRED,
    "A call without prefetch gets cards, or an error of the client's such as 412.",
)
def _call_without_prefetch(seen: Observations) -> Iterator[str]:
    for what, answer in _calls(seen, Kind.WITHOUT_PREFETCH):
        if answer.status != 200 and not 400 <= answer.status < 500:
            yield f"{what}: status {answer.status}"


@_check("bad-no-fault", _STATUS, Level.REQUIRED, "A bad request is no fault of the service: it gets no 5xx.")
def _bad_no_fault(seen: Observations) -> Iterator[str]:
    for what, answer in _calls(seen, Kind.BAD, Kind.CONTENT_TYPE, Kind.UNKNOWN_SERVICE, Kind.BAD_FEEDBACK):
        if answer.status >= 500 and not (answer.status == 501 and "feedback" in what):
            yield f"{what}: status {answer.status}"


@_check("bad-refused", _CALLING, Level.RECOMMENDED, "A call without what is required, or of another hook, gets a 4xx.")
def _bad_refused(seen: Observations) -> Iterator[str]:
    for what, answer in _calls(seen, Kind.BAD):
        if answer.status < 400:
            yield f"{what}: status {answer.status}"


@_check("content-type-refused", _CALLING, Level.RECOMMENDED, "A body that is not sent as JSON is refused.")
def _content_type_refused(seen: Observations) -> Iterator[str]:
    for what, answer in _calls(seen, Kind.CONTENT_TYPE):
        if answer.status < 400:
            yield f"{what}: status {answer.status}"


@_check("unknown-service", _CALLING, Level.REQUIRED, "A service that is not there gets 404.")
def _unknown_service(seen: Observations) -> Iterator[str]:
    # Who may not call learns nothing about what is there.
    allowed = (404, 401, 403)
    for what, answer in _calls(seen, Kind.UNKNOWN_SERVICE):
        if answer.status not in allowed:
            yield f"{what}: status {answer.status}"


_OUTCOME = "Returning OperationOutcome"


def _errors(seen: Observations) -> Iterator[tuple[str, Answer]]:
    found = ((what, answer) for what, answer in seen.answered() if answer.status >= 400)
    return _some(found, "there was no error")


@_check("error-no-html", _OUTCOME, Level.RECOMMENDED, "No error is a page for a browser.")
def _error_no_html(seen: Observations) -> Iterator[str]:
    for what, answer in _errors(seen):
        if answer.content_type == "text/html" or answer.body.lstrip()[:5].lower() in (b"<html", b"<!doc"):
            yield f"{what}: status {answer.status} as HTML"


@_check("error-outcome", _OUTCOME, Level.RECOMMENDED, "Each error is an OperationOutcome that says what is wrong.")
def _error_outcome(seen: Observations) -> Iterator[str]:
    for what, answer in _errors(seen):
        outcome = answer.json
        issues = outcome.get("issue") if isinstance(outcome, dict) else None
        if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
            yield f"{what}: status {answer.status} without an OperationOutcome"
        elif not (isinstance(issues, list) and issues and all(map(_is_issue, issues))):
            yield f"{what}: expected issues with severity and code, one at least"


def _is_issue(issue: object) -> bool:
    return (
        isinstance(issue, dict)
        and issue.get("severity") in ("fatal", "error", "warning", "information")
        and _is_text(issue.get("code"))
    )


@_check(
    "token-required", "Trusting CDS Clients", Level.RECOMMENDED, "A service with clients answers none without a token."
)
def _token_required(seen: Observations) -> Iterator[str]:
    if not seen.with_token:
        raise _NotApplicable("no token was given")
    for what, answer in seen.answered(Kind.WITHOUT_TOKEN):
        if answer.status not in (401, 403):
            yield f"{what}: status {answer.status}"


# ---------------------------------------------------------------------------------------------------------------------
# Responses

_RESPONSE = "CDS Service Response"
_CARDS = "Card Attributes"


def _responses(seen: Observations) -> Iterator[tuple[str, Any]]:
    found = ((what, answer.json) for what, answer in seen.answered(*_ANSWERING) if answer.status == 200)
    return _some(found, "no call was answered with 200")


def _listed(at: str, owner: object, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in an array of this name, with where each is."""
    value = owner.get(name) if isinstance(owner, dict) else None
    for number, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield f"{at}{'.' if '[' in at else ': '}{name}[{number}]", item


def _cards(seen: Observations) -> Iterator[tuple[str, dict[str, Any]]]:
    found = (each for what, body in _responses(seen) for each in _listed(what, body, "cards"))
    return _some(found, "no card came; send requests that bring cards with --requests")


def _on_cards(seen: Observations, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = (each for at, card in _cards(seen) for each in _listed(at, card, name))
    return _some(found, f"no card has {name}")


def _actions(seen: Observations) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Where, the action, and whether it is one of a suggestion rather than of the system."""
    for what, body in _responses(seen):
        for at, card in _listed(what, body, "cards"):
            for suggestion_at, suggestion in _listed(at, card, "suggestions"):
                for action_at, action in _listed(suggestion_at, suggestion, "actions"):
                    yield action_at, action, True
        for at, action in _listed(what, body, "systemActions"):
            yield at, action, False


@_check("response-shape", _RESPONSE, Level.REQUIRED, "A response is a JSON object with an array of objects, cards.")
def _response_shape(seen: Observations) -> Iterator[str]:
    for what, answer in seen.answered(*_ANSWERING):
        if answer.status == 200 and answer.content_type not in _JSON_TYPES:
            yield f"{what}: Content-Type: expected application/json, received another"
    for what, body in _responses(seen):
        if not isinstance(body, dict):
            yield f"{what}: expected a JSON object"
            continue
        for name in ("cards", *(["systemActions"] if "systemActions" in body else [])):
            listed = body.get(name)
            if not isinstance(listed, list):
                yield f"{what}: {name}: expected an array, received {_type(listed)}"
            elif not all(isinstance(item, dict) for item in listed):
                yield f"{what}: {name}: expected objects in the array"


@_check("response-null", "Use of JSON", Level.REQUIRED, "Members without a value are left out, not null or empty.")
def _response_null(seen: Observations) -> Iterator[str]:
    for what, body in _responses(seen):
        if isinstance(body, dict):
            yield from (f"{what}: {at}" for at in _null_in(body, "", top=True))


def _null_in(value: object, at: str, *, top: bool = False, in_resource: bool = False) -> Iterator[str]:
    """Where null, an empty text, an empty object or an empty array stands, in extensions and resources too.

    In an array of a resource null stands where an element has an extension and no value, as FHIR has it.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            if not (top and name == "cards" and inner == []):
                where = f"{at}.{name}" if at else name
                yield from _null_in(inner, where, in_resource=in_resource or name == "resource")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if inner is not None or not in_resource:
                yield from _null_in(inner, f"{at}[{number}]", in_resource=in_resource)
    if at and (value is None or value in ({}, [], "")):
        yield f"{at} is {'null' if value is None else 'empty'}"


@_check("response-extension", "Extensions", Level.REQUIRED, "An extension is an object.")
def _response_extension(seen: Observations) -> Iterator[str]:
    for what, body in _responses(seen):
        owners: list[tuple[str, Any]] = [(what, body)]
        for at, card in _listed(what, body, "cards"):
            source = card.get("source")
            owners += [(at, card), (f"{at}.source", source), *_listed(at, card, "links")]
            owners += [(f"{at}.source.topic", source.get("topic"))] if isinstance(source, dict) else []
            owners += [*_listed(at, card, "suggestions"), *_listed(at, card, "overrideReasons")]
        yield from _extensions(owners)
    yield from _extensions([(at, action) for at, action, _of in _actions(seen)])


def _extensions(owners: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for at, owner in owners:
        if isinstance(owner, dict) and "extension" in owner and not isinstance(owner["extension"], dict):
            yield f"{at}: extension: expected an object, received {_type(owner['extension'])}"


@_check(
    "response-members", _RESPONSE, Level.RECOMMENDED, "What the specification does not define lies in an extension."
)
def _response_members(seen: Observations) -> Iterator[str]:
    for what, body in _responses(seen):
        if not isinstance(body, dict):
            continue
        yield from _undefined(what, body, "response")
        for at, card in _listed(what, body, "cards"):
            yield from _undefined(at, card, "card")
            if isinstance(card.get("source"), dict):
                yield from _undefined(f"{at}.source", card["source"], "source")
            for link_at, link in _listed(at, card, "links"):
                yield from _undefined(link_at, link, "link")
            for suggestion_at, suggestion in _listed(at, card, "suggestions"):
                yield from _undefined(suggestion_at, suggestion, "suggestion")
    yield from (line for at, action, _of in _actions(seen) for line in _undefined(at, action, "action"))


def _undefined(at: str, owner: Mapping[str, Any], kind: str) -> Iterator[str]:
    for name in sorted(owner.keys() - _MEMBERS[kind] - {"extension"}):
        yield f"{at}: {name} is no member of a {kind}"


@_check("card-summary", _CARDS, Level.REQUIRED, "A summary is a text of fewer than 140 characters.")
def _card_summary(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        yield from _need_text(at, card, "summary")
        if isinstance(card.get("summary"), str) and len(card["summary"]) >= _SUMMARY:
            yield f"{at}.summary: expected fewer than 140 characters, received {len(card['summary'])}"


@_check("card-indicator", _CARDS, Level.REQUIRED, "An indicator is info, warning or critical.")
def _card_indicator(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        if card.get("indicator") not in ("info", "warning", "critical"):
            yield f"{at}.indicator: expected info, warning or critical"


@_check("card-detail", _CARDS, Level.REQUIRED, "A detail is a text that is not empty.")
def _card_detail(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        if "detail" in card:
            yield from _need_text(at, card, "detail")


@_check(
    "detail-html",
    _CARDS,
    Level.RECOMMENDED,
    "A detail is Markdown without HTML, of which each client shows another part.",
)
def _detail_html(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        if isinstance(card.get("detail"), str):
            shown = _CODE.sub("", card["detail"][:_READ].replace("\\<", ""))
            if _HTML.search(shown):
                yield f"{at}.detail: expected Markdown, received HTML"
            if _SCRIPT_LINK.search(shown):
                yield f"{at}.detail: expected links to web addresses, received one to a script or data"


@_check(
    "plain-text",
    _CARDS,
    Level.RECOMMENDED,
    "Summary, labels, descriptions and displays are one line of plain text: they are shown as they are.",
)
def _plain_text(seen: Observations) -> Iterator[str]:
    for at, owner, name in _plain_texts(seen):
        text = owner.get(name)
        if isinstance(text, str) and (_HTML.search(text[:_READ]) or _MARKDOWN.search(text[:_READ])):
            yield f"{at}.{name}: expected plain text, received markup"
        if isinstance(text, str) and len(text.splitlines()) > 1:
            yield f"{at}.{name}: expected one line, received several"


def _plain_texts(seen: Observations) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    for at, card in _cards(seen):
        yield at, card, "summary"
        if isinstance(card.get("source"), dict):
            yield f"{at}.source", card["source"], "label"
        for list_, name in (("suggestions", "label"), ("links", "label"), ("overrideReasons", "display")):
            yield from ((where, owner, name) for where, owner in _listed(at, card, list_))
    yield from ((at, action, "description") for at, action, _of in _actions(seen))


@_check("card-source", "Source", Level.REQUIRED, "A source has a label; its url and icon are absolute URLs.")
def _card_source(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        source = card.get("source")
        if not isinstance(source, dict):
            yield f"{at}.source: expected an object, received {_type(source)}"
            continue
        yield from _need_text(f"{at}.source", source, "label")
        for name in ("url", "icon"):
            if name in source and not (isinstance(source[name], str) and _URL.fullmatch(source[name])):
                yield f"{at}.source.{name}: expected an absolute URL"
        if "topic" in source and not _is_coding(source["topic"]):
            yield f"{at}.source.topic: expected a Coding, with a code and texts alone"


def _is_coding(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _is_text(value.get("code"))
        and all(_is_text(value.get(name, "-")) for name in ("system", "display"))
    )


@_check("coding-system", "Coding", Level.RECOMMENDED, "A code has its code system, as the 3.0.0 ballot requires.")
def _coding_system(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        topic = card["source"].get("topic") if isinstance(card.get("source"), dict) else None
        codings = [(f"{at}.source.topic", topic)] if isinstance(topic, dict) else []
        for where, coding in (*codings, *_listed(at, card, "overrideReasons")):
            yield from _need_text(where, coding, "system")


@_check("card-uuid", _CARDS, Level.REQUIRED, "A uuid is a text that no other card, or suggestion, of the response has.")
def _card_uuid(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        if "uuid" in card and not _is_text(card["uuid"]):
            yield f"{at}.uuid: expected a string that is not empty, received {_type(card['uuid'])}"
    for what, body in _responses(seen):
        cards = [*_listed(what, body, "cards")]
        suggestions = [each for at, card in cards for each in _listed(at, card, "suggestions")]
        for name, owners in (("cards", cards), ("suggestions", suggestions)):
            uuids = [owner["uuid"] for _at, owner in owners if isinstance(owner.get("uuid"), str)]
            if len(set(uuids)) < len(uuids):
                yield f"{what}: two {name} have the same uuid"


@_check(
    "card-uuid-form", _CARDS, Level.RECOMMENDED, "Cards and suggestions have a UUID, so that feedback can name them."
)
def _card_uuid_form(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        for where, owner in ((at, card), *_listed(at, card, "suggestions")):
            if not (isinstance(owner.get("uuid"), str) and UUID.fullmatch(owner["uuid"])):
                yield f"{where}.uuid: expected a UUID"


@_check(
    "suggestion-members", "Suggestion", Level.REQUIRED, "A suggestion has a label; its other members are of their type."
)
def _suggestion_members(seen: Observations) -> Iterator[str]:
    for at, suggestion in _on_cards(seen, "suggestions"):
        yield from _need_text(at, suggestion, "label")
        for name, kind in (("uuid", str), ("isRecommended", bool), ("actions", list)):
            if name in suggestion and not isinstance(suggestion[name], kind):
                yield f"{at}.{name}: received {_type(suggestion[name])}"
        if suggestion.get("actionSelectionBehavior", "all") not in ("all", "any", "at-most-one"):
            yield f"{at}.actionSelectionBehavior: expected all, any or at-most-one"


@_check(
    "selection-behavior", _CARDS, Level.REQUIRED, "A card with suggestions has selectionBehavior, at-most-one or any."
)
def _selection_behavior(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        if (card.get("suggestions") or "selectionBehavior" in card) and card.get("selectionBehavior") not in (
            "at-most-one",
            "any",
        ):
            yield f"{at}.selectionBehavior: expected at-most-one or any"


@_check(
    "one-recommended",
    "Suggestion",
    Level.REQUIRED,
    "Where one suggestion may be taken, no more than one is recommended.",
)
def _one_recommended(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        recommended = sum(each.get("isRecommended") is True for _at, each in _listed(at, card, "suggestions"))
        if recommended > 1 and card.get("selectionBehavior") == "at-most-one":
            yield f"{at}: {recommended} suggestions are recommended, and at most one may be taken"


@_check(
    "action-members", "Action", Level.REQUIRED, "An action has its type, and the resource that it creates or updates."
)
def _action_members(seen: Observations) -> Iterator[str]:
    for at, action, of_suggestion in _some(_actions(seen), "no response has an action"):
        kind = action.get("type")
        if kind not in ("create", "update", "delete"):
            yield f"{at}.type: expected create, update or delete"
        if of_suggestion:
            yield from _need_text(at, action, "description")
        resource = action.get("resource")
        if kind in ("create", "update") and not (isinstance(resource, dict) and _is_text(resource.get("resourceType"))):
            yield f"{at}.resource: expected a FHIR resource, received {_type(resource)}"
        if "resourceId" in action and not _is_text(action["resourceId"]):
            yield f"{at}.resourceId: expected a string that is not empty, received {_type(action['resourceId'])}"


def _resources(seen: Observations) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where, the type of the action and the resource that it creates or updates, where that is one at all."""
    found = (
        (f"{at}.resource", str(action.get("type")), action["resource"])
        for at, action, _of in _actions(seen)
        if isinstance(action.get("resource"), dict) and _is_text(action["resource"].get("resourceType"))
    )
    return _some(found, "no response has an action with a resource")


@_check("action-resource", "Use of JSON", Level.REQUIRED, "The resource of an action is valid FHIR.")
def _action_resource(seen: Observations) -> Iterator[str]:
    for at, resource in _judged_resources(seen):
        if not fhir.releases_of(resource):
            yield from (f"{at}: {resource['resourceType']}: {problem}" for problem in fhir.violations(resource))


@_check("action-resource-r4", "Overview", Level.RECOMMENDED, "The resource of an action is one of FHIR R4.")
def _action_resource_r4(seen: Observations) -> Iterator[str]:
    for at, resource in _judged_resources(seen):
        releases = fhir.releases_of(resource)
        if releases and fhir.R4 not in releases:
            yield f"{at}: {resource['resourceType']}: valid in {' and '.join(releases)} only"


def _judged_resources(seen: Observations) -> Iterator[tuple[str, dict[str, Any]]]:
    if not fhir.can_tell():
        raise _NotApplicable("the package fhir.resources, whose models tell, is not installed")
    yield from ((at, resource) for at, _type_, resource in _resources(seen))


@_check("action-update", "Action", Level.RECOMMENDED, "An action that updates has the id of what it updates.")
def _action_update(seen: Observations) -> Iterator[str]:
    for at, kind, resource in _resources(seen):
        if kind == "update":
            yield from _need_text(at, resource, "id")


@_check(
    "action-delete",
    "Action",
    Level.RECOMMENDED,
    "An action that deletes names what in resourceId, and has no resource.",
)
def _action_delete(seen: Observations) -> Iterator[str]:
    for at, action, _of in _some(_actions(seen), "no response has an action"):
        if action.get("type") != "delete":
            continue
        if not (isinstance(action.get("resourceId"), str) and _REFERENCE.fullmatch(action["resourceId"])):
            yield f"{at}.resourceId: expected a relative reference, Type/id"
        if "resource" in action:
            yield f"{at}.resource: expected none, received {_type(action['resource'])}"


@_check(
    "action-selection",
    "Capability Documentation",
    Level.RECOMMENDED,
    "actionSelectionBehavior is left out unless the client is known to support it.",
)
def _action_selection(seen: Observations) -> Iterator[str]:
    for at, suggestion in _on_cards(seen, "suggestions"):
        if suggestion.get("actionSelectionBehavior", "all") != "all":
            yield f"{at}.actionSelectionBehavior: expected none, as this client has not said that it supports it"


@_check("link-members", "Link", Level.REQUIRED, "A link has a label, an absolute url and the type absolute or smart.")
def _link_members(seen: Observations) -> Iterator[str]:
    for at, link in _on_cards(seen, "links"):
        yield from _need_text(at, link, "label")
        if not (isinstance(link.get("url"), str) and _URL.fullmatch(link["url"])):
            yield f"{at}.url: expected an absolute URL"
        if link.get("type") not in ("absolute", "smart"):
            yield f"{at}.type: expected absolute or smart"
        if "appContext" in link and (link.get("type") != "smart" or not isinstance(link["appContext"], str)):
            yield f"{at}.appContext: expected on a link of the type smart only, as a string"
        if not isinstance(link.get("autolaunchable", False), bool):
            yield f"{at}.autolaunchable: expected a boolean, received {_type(link['autolaunchable'])}"


@_check(
    "override-reasons", "Reasons for rejecting a card", Level.REQUIRED, "Each override reason has a code and a display."
)
def _override_reasons(seen: Observations) -> Iterator[str]:
    for at, reason in _on_cards(seen, "overrideReasons"):
        yield from _need_text(at, reason, "code", "display")
        if "system" in reason:
            yield from _need_text(at, reason, "system")


@_check("card-arrays", _CARDS, Level.REQUIRED, "suggestions, links and overrideReasons are arrays of objects.")
def _card_arrays(seen: Observations) -> Iterator[str]:
    for at, card in _cards(seen):
        for name in ("suggestions", "links", "overrideReasons"):
            if name in card and not (isinstance(card[name], list) and all(isinstance(i, dict) for i in card[name])):
                yield f"{at}.{name}: expected an array of objects"


# ---------------------------------------------------------------------------------------------------------------------
# Feedback

_FEEDBACK = "Feedback"


def _feedback(seen: Observations, kind: Kind) -> Iterator[tuple[str, Answer]]:
    """What a service that takes feedback answers; a service need not take any."""
    if not seen.with_feedback:
        raise _NotApplicable("no feedback was sent")
    taken = ((what, answer) for what, answer in seen.answered(kind) if answer.status not in (404, 405, 501))
    return _some(taken, "no service takes feedback")


@_check("feedback-status", _FEEDBACK, Level.REQUIRED, "Feedback is taken with 200: a batch, with a reason and without.")
def _feedback_status(seen: Observations) -> Iterator[str]:
    for what, answer in _feedback(seen, Kind.FEEDBACK):
        if answer.status != 200:
            yield f"{what}: status {answer.status}"


@_check("feedback-body", "Use of JSON", Level.RECOMMENDED, "What comes back for feedback is JSON, if anything.")
def _feedback_body(seen: Observations) -> Iterator[str]:
    for what, answer in _feedback(seen, Kind.FEEDBACK):
        if answer.body.strip() and answer.json is None:
            yield f"{what}: expected JSON or nothing"


@_check("feedback-refused", _FEEDBACK, Level.RECOMMENDED, "Feedback without its array is refused.")
def _feedback_refused(seen: Observations) -> Iterator[str]:
    for what, answer in _feedback(seen, Kind.BAD_FEEDBACK):
        if answer.status < 400:
            yield f"{what}: status {answer.status}"


# ---------------------------------------------------------------------------------------------------------------------
# Browsers

_CORS = "Cross-Origin Resource Sharing"


def _words(answer: Answer, header: str) -> set[str]:
    return {word.strip().lower() for word in answer.headers.get(header, "").split(",")}


def _allows_origin(answer: Answer) -> bool:
    return answer.headers.get("access-control-allow-origin") in ("*", ORIGIN)


@_check(
    "cors-preflight", _CORS, Level.RECOMMENDED, "A browser may ask first: OPTIONS allows origin, method and headers."
)
def _cors_preflight(seen: Observations) -> Iterator[str]:
    for each in seen.of(Kind.PREFLIGHT):
        answer = each.answer
        if answer is None:
            continue
        if not 200 <= answer.status < 300:
            yield f"{each.what}: status {answer.status}"
            continue
        if not _allows_origin(answer):
            yield f"{each.what}: Access-Control-Allow-Origin has neither * nor the origin"
        method = "get" if each.call.url.endswith("/cds-services") else "post"
        if not _words(answer, "access-control-allow-methods") & {"*", method}:
            yield f"{each.what}: Access-Control-Allow-Methods lacks {method.upper()}"
        allowed = _words(answer, "access-control-allow-headers")
        # Of Authorization the asterisk says nothing.
        for header in ("authorization", "content-type"):
            if header not in allowed and ("*" not in allowed or header == "authorization"):
                yield f"{each.what}: Access-Control-Allow-Headers lacks {header}"


@_check("cors-answers", _CORS, Level.RECOMMENDED, "A browser may read every answer, errors too.")
def _cors_answers(seen: Observations) -> Iterator[str]:
    for each in seen.of():
        if each.answer and each.call.kind is not Kind.PREFLIGHT and not _allows_origin(each.answer):
            yield f"{each.what}: Access-Control-Allow-Origin has neither * nor the origin"


@_check("cors-credentials", _CORS, Level.RECOMMENDED, "Credentials are not allowed to every origin.")
def _cors_credentials(seen: Observations) -> Iterator[str]:
    for what, answer in seen.answered():
        headers = answer.headers
        if headers.get("access-control-allow-origin") == "*" and "access-control-allow-credentials" in headers:
            yield f"{what}: Access-Control-Allow-Credentials beside an origin of *"


CHECKS: tuple[Check, ...] = tuple(_TABLE)
