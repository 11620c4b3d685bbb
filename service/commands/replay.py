"""Posts the requests of a folder again and says where the answers differ from those that lie beside them.

A folder holds ``requests`` and ``responses`` (files of the same names) and ``clock.txt``, the time of the responses. In
a subfolder of ``requests`` lie the requests of the CDS service of its name; the others go to the first service that
discovery has for their hook. Without an address the service is this one, with its clock held at that time, so that the
answers of two sets of knowledge can be compared. Specification: Calling a CDS Service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from cds_hooks.conformance import reason_of
from cds_hooks.text_forms import UUID
from service.answers.card_lines import MONTHS, as_people_write
from service.app import create_app
from service.release.digests import without_digests
from service.settings import Settings
from service.why_address import ADVICE
from service.why_address import PATH as WHY

_SECONDS = 30
_FULL_DATE = re.compile(r"(?<![\d-])\d{4}-\d\d-\d\d(?![\d-])")
_IN_WORDS = re.compile(rf"\b({'|'.join(MONTHS)}) (\d\d?)(?:, (\d{{4}}))?\b")
_LONG = 100
# The ids on the cards of the responses are made by this key, which is no secret: nobody's chart is among the requests.
PUBLISHED_KEY = "published-for-the-fixtures-of-sitbone"
# Where the links of the responses lead.
PUBLISHED_AT = "http://127.0.0.1:8080"
_BEFORE_WHY = re.compile(rf'https?://[^"\s]*?(?={WHY}|{ADVICE})')

# A path and a body (None: a GET) -> the body of the answer.
Caller = Callable[[str, str, bytes | None], bytes]
Over = Callable[[Sequence[str]], Iterable[str]]


class ReplayError(Exception):
    """The folder or the service cannot be used. The text is one sentence for the person who replays."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What lies in a folder: the names of requests are paths without suffix, as ``cauda-equina``."""

    clock: datetime
    requests: Mapping[str, dict[str, Any]]
    responses: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One member that is not as expected. A side that lacks the member has no entry in `sides`."""

    path: str
    sides: Mapping[str, Any]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path.parent.name}/{path.name} is not JSON.") from error


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.json")):
        yield path.relative_to(folder).with_suffix("").as_posix(), path


def read_folder(folder: Path) -> Folder:
    """The requests and responses of a folder. Raises ReplayError."""
    if not folder.is_dir():
        raise ReplayError(f"{folder} is no folder.")
    try:
        clock = datetime.fromisoformat((folder / "clock.txt").read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise ReplayError("clock.txt is missing or holds no time like 2026-11-22T12:00:00Z.") from error
    if clock.tzinfo is None:
        raise ReplayError("clock.txt holds a time without a zone; write it like 2026-11-22T12:00:00Z.")
    called = {name: _read_json(path) for name, path in _named(folder / "requests")}
    if not called:
        raise ReplayError("There is no request in the folder requests.")
    for name, request in called.items():
        if not isinstance(request, dict):
            raise ReplayError(f"requests/{name}.json is no object.")
    return Folder(clock.astimezone(UTC), called, {n: _read_json(path) for n, path in _named(folder / "responses")})


# ---------------------------------------------------------------------------------------------------------------------
# Calling


def in_process(settings: Settings, clock: datetime) -> Caller:
    """This service, with its clock held still, the ids of cards made by the published key and links to one address."""
    published = replace(
        settings,
        card_key=PUBLISHED_KEY,
        public_base_url=PUBLISHED_AT,
        card_problems=None,
        mode="live",
        draft="show",
        silent=None,
    )
    client = create_app(published, clock=lambda: clock).test_client()

    def call(path: str, name: str, body: bytes | None) -> bytes:
        headers = {"X-Correlation-Id": name}
        if body is None:
            return client.get(path, headers=headers).get_data()
        return client.post(path, data=body, content_type="application/json", headers=headers).get_data()

    return call


def over_http(url: str) -> Caller:
    """The service at this address."""
    session = requests.Session()

    def call(path: str, name: str, body: bytes | None) -> bytes:
        headers = {"X-Correlation-Id": name, "Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        try:
            return session.request(
                method, url.rstrip("/") + path, data=body, headers=headers, timeout=_SECONDS, allow_redirects=False
            ).content
        except requests.RequestException as error:
            raise ReplayError(f"The service cannot be called: {reason_of(error)}.") from error

    return call


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ReplayError("The service answers something that is not JSON; is the address right?") from error


def _service_of_hook(call: Caller) -> dict[str, str]:
    """hook -> the id of the first service that discovery has for it."""
    discovered = _decoded(call("/cds-services", "discovery", None))
    services: dict[str, str] = {}
    try:
        for entry in discovered["services"]:
            services.setdefault(entry["hook"], entry["id"])
    except (KeyError, TypeError) as error:
        raise ReplayError("The service does not answer /cds-services as CDS Hooks has it.") from error
    return services


def answers(folder: Folder, call: Caller, days: int = 0, over: Over = iter) -> dict[str, Any]:
    """name -> the answer to each request, its dates moved forward by so many days and those of the answer back, and
    without the digests of the content that answered.

    `over` hands on the names of the requests, as a progress bar does.

    Raises ReplayError.
    """
    services = _service_of_hook(call)
    received = {}
    for name in over(list(folder.requests)):
        request = folder.requests[name]
        named, _, _ = name.rpartition("/")
        service = named or services.get(str(request.get("hook")), "")
        if not service:
            raise ReplayError(f"requests/{name}.json: the service publishes nothing for its hook.")
        body = json.dumps(_moved(request, days)).encode()
        # As the correlation id a name makes the answer to a refused request the same each time.
        answer = _decoded(call(f"/cds-services/{service}", name.replace("/", "."), body))
        received[name] = without_digests(_moved(answer, -days, folder.clock))
    return received


def _moved(value: Any, days: int, clock: datetime | None = None) -> Any:
    """A JSON value with every full date in its texts moved; a month or a year alone stays. With the `clock` to which
    they are moved, also the dates that cards have in words."""
    if not days:
        return value
    if isinstance(value, str):
        moved = _FULL_DATE.sub(lambda match: _moved_date(match[0], days), value)
        return _IN_WORDS.sub(lambda match: _moved_words(match, days, clock), moved) if clock else moved
    if isinstance(value, dict):
        return {key: _moved(inner, days, clock) for key, inner in value.items()}
    return [_moved(inner, days, clock) for inner in value] if isinstance(value, list) else value


def _moved_words(found: re.Match[str], days: int, clock: datetime) -> str:
    """A date such as "Nov 22" or "Nov 22, 2025" moved to the time of the clock; without a year it is the nearest."""
    today = clock.date() - timedelta(days=days)
    years = [int(found[3])] if found[3] else [today.year - 1, today.year, today.year + 1]
    dates = []
    for year in years:
        try:
            dates.append(date(year, MONTHS.index(found[1]) + 1, int(found[2])))
        except ValueError:
            # The 29th of February is not in every year.
            continue
    if not dates:
        return found[0]
    moved = min(dates, key=lambda each: abs(each - today)) + timedelta(days=days)
    return as_people_write(moved.isoformat(), clock)


def _moved_date(text: str, days: int) -> str:
    try:
        return (date.fromisoformat(text) + timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        return text


# ---------------------------------------------------------------------------------------------------------------------
# Comparing


def differences(expected: Any, received: Any, path: str = "$") -> Iterator[Difference]:
    """Every member in which two JSON values differ, as deep as they can be compared."""
    if isinstance(expected, dict) and isinstance(received, dict):
        for key in dict.fromkeys((*expected, *received)):
            at = f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]"
            yield from _member(expected, received, key, at)
    elif isinstance(expected, list) and isinstance(received, list):
        for place in range(max(len(expected), len(received))):
            yield from _member(dict(enumerate(expected)), dict(enumerate(received)), place, f"{path}[{place}]")
    elif type(expected) is not type(received) or expected != received:
        yield Difference(path, {"expected": expected, "received": received})


def _member(expected: Mapping[Any, Any], received: Mapping[Any, Any], key: Any, path: str) -> Iterator[Difference]:
    if key in expected and key in received:
        yield from differences(expected[key], received[key], path)
    elif key in expected:
        yield Difference(path, {"expected": expected[key]})
    else:
        yield Difference(path, {"received": received[key]})


def _to_the_day(value: Any) -> Any:
    """An order that is proposed carries the time of the call: of a running service only the day can be foretold."""
    if isinstance(value, dict):
        return {k: v[:10] if k == "authoredOn" and isinstance(v, str) else _to_the_day(v) for k, v in value.items()}
    return [_to_the_day(inner) for inner in value] if isinstance(value, list) else value


def _numbered(answers: Mapping[str, Any]) -> dict[str, Any]:
    """The answers with each uuid replaced by its number, and links without where they lead to: a running service makes
    ids by a key of its own, and has an address of its own."""

    def numbered(answer: Any) -> Any:
        numbers: dict[str, str] = {}
        text = _BEFORE_WHY.sub("", json.dumps(answer))
        return json.loads(UUID.sub(lambda match: numbers.setdefault(match[0], f"uuid {len(numbers) + 1}"), text))

    return {name: numbered(answer) for name, answer in answers.items()}


def replay(
    path: Path, settings: Settings, url: str | None = None, over: Over = iter
) -> dict[str, tuple[Difference, ...]]:
    """name -> the differences between the answer to a request and the response that lies beside it.

    With `url` it is the service there that is called, at its own time: every full date of a request is moved by the
    days since the folder's clock. Raises ReplayError.
    """
    folder = read_folder(path)
    if url is None:
        received, expected = answers(folder, in_process(settings, folder.clock), over=over), folder.responses
    else:
        days = (datetime.now(UTC).date() - folder.clock.date()).days
        received = _numbered(_to_the_day(answers(folder, over_http(url), days, over)))
        expected = _numbered(_to_the_day(folder.responses))
    return {name: tuple(_member(expected, received, name, "$")) for name in sorted({*expected, *received})}


def as_text(replayed: Mapping[str, tuple[Difference, ...]]) -> str:
    """The differences for a person to read: a line for each member, a line for each line of a long text."""
    lines = []
    for name, found in replayed.items():
        lines += [name, *(f"  {line}" for difference in found for line in _lines(difference))] if found else []
    differing = sum(bool(found) for found in replayed.values())
    return "\n".join([*lines, f"{len(replayed)} replayed, {differing} with differences"])


def _lines(difference: Difference) -> Iterator[str]:
    yield difference.path
    sides = difference.sides
    long = [side for side in sides.values() if isinstance(side, str) and ("\n" in side or len(side) > _LONG)]
    texts = {
        side: value.splitlines() if long and isinstance(value, str) else [_json(value)] for side, value in sides.items()
    }
    for side, mark, other in (("expected", "-", "received"), ("received", "+", "expected")):
        for line in texts.get(side, ()):
            if line not in texts.get(other, ()):
                yield f"  {mark} {line}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def as_json(replayed: Mapping[str, tuple[Difference, ...]]) -> str:
    """The differences for a machine: an object with the differences of each request, which may be none."""
    return json.dumps(
        {name: [{"path": found.path, **found.sides} for found in all_] for name, all_ in replayed.items()},
        ensure_ascii=False,
        indent=2,
    )
