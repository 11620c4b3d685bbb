"""The codes of a site, from the files that settings name: those by which it orders imaging, with what each of them
means, and those under which its EHR places the orders that cards suggest.

Specification: RFC 4180 (CSV).
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT, Coding, read_coding
from service.chart.orders import NO_SITE_CODES, WITH_CONTRAST, Meaning, SiteCodes
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import MODALITIES
from service.settings import Settings, SettingsError, shown

_COLUMNS = ("system", "code", "modality", "region", "side")
# A file may have this column as well.
_CONTRAST = "contrast"
_SIDES = (NO_SIDE, LEFT, RIGHT, BILATERAL)
_ANY_SIDE = "any"
_PREFERENCE_LIST = ("order", "side", "code")


def read_site_codes(file: Path, regions: Sequence[str]) -> SiteCodes:
    """The codes of a site (CPT, its own) with what they mean: a CSV file with the columns of `_COLUMNS`.

    `regions` are those of the knowledge (Knowledge.regions).

    Raises SettingsError with file, line and reason.
    """
    rows = _read(file)
    columns = tuple(rows.fieldnames or ())
    if columns not in (_COLUMNS, (*_COLUMNS, _CONTRAST)):
        raise SettingsError(f"{file}: line 1: must be the columns {','.join(_COLUMNS)}, and {_CONTRAST} or no other.")
    codes: dict[Coding, Meaning] = {}
    for at, row in _whole(rows, file):
        coding = _site_code(row, regions, at)
        codes[coding] = Meaning(row["modality"], row["region"], "", row["side"], row.get(_CONTRAST, ""))
    return codes


def site_codes_of(settings: Settings, knowledge: Knowledge) -> SiteCodes:
    """Those of the file that the settings name, if any. Raises SettingsError."""
    return read_site_codes(settings.order_codes, knowledge.regions) if settings.order_codes else NO_SITE_CODES


def read_preference_list(file: Path, orders: Collection[str]) -> Mapping[tuple[str, str], str]:
    """Under which code an EHR places each order that a card may suggest, by its key and its side ("" for any).

    A CSV file with the columns of `_PREFERENCE_LIST`; `orders` are the keys of orders.toml. Raises SettingsError with
    file, line and reason.
    """
    rows = _read(file)
    if tuple(rows.fieldnames or ()) != _PREFERENCE_LIST:
        raise SettingsError(f"{file}: line 1: must be the columns {','.join(_PREFERENCE_LIST)}.")
    codes: dict[tuple[str, str], str] = {}
    for at, row in _whole(rows, file):
        order, side, code = (row[column] for column in _PREFERENCE_LIST)
        if order not in orders:
            close = difflib.get_close_matches(order, orders, n=1)
            raise SettingsError(
                f"{at}: order is {shown(order)}, which no card suggests{f'; is {close[0]} meant?' if close else '.'}"
            )
        if side not in (_ANY_SIDE, *_SIDES[1:]):
            raise SettingsError(
                f"{at}: side is {shown(side)} and must be one of {', '.join((_ANY_SIDE, *_SIDES[1:]))}."
            )
        if not code:
            raise SettingsError(f"{at}: code must not be empty.")
        codes[order, "" if side == _ANY_SIDE else side] = code
    return codes


def _read(file: Path) -> csv.DictReader[str]:
    try:
        return csv.DictReader(file.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{file}: cannot be read as UTF-8 text.") from None


def _whole(rows: csv.DictReader[str], file: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each row with where it stands; raises SettingsError for one with too few fields or too many."""
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise SettingsError(f"{file}: line {number}: must have {len(rows.fieldnames or ())} fields.")
        yield f"{file}: line {number}", row


def _site_code(row: Mapping[str, str], regions: Sequence[str], at: str) -> Coding:
    choices = {
        "modality": MODALITIES[:-1],
        "region": regions,
        "side": _SIDES,
        _CONTRAST: ("", WITH_CONTRAST, "without"),
    }
    system, code = row["system"], row["code"]
    if not system or not code:
        raise SettingsError(f"{at}: system and code must not be empty.")
    for column, allowed in choices.items():
        if column in row and row[column] not in allowed:
            raise SettingsError(
                f"{at}: {column} is {shown(row[column])} and must be one of {', '.join(filter(None, allowed))}."
            )
    return read_coding(system, code)[0]
