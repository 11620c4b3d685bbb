"""The codes by which a site orders imaging: the file that a setting names -> what each code means.

Specification: RFC 4180 (CSV).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT, Coding, read_coding
from service.chart.orders import WITH_CONTRAST, Meaning, SiteCodes
from service.knowledge_model.vocabulary import MODALITIES
from service.settings import SettingsError

_COLUMNS = ("system", "code", "modality", "region", "side")
# A file may have this column as well.
_CONTRAST = "contrast"
_SIDES = (NO_SIDE, LEFT, RIGHT, BILATERAL)


def read_site_codes(file: Path, regions: Sequence[str]) -> SiteCodes:
    """The codes of a site (CPT, its own) with what they mean: a CSV file with the columns of `_COLUMNS`.

    `regions` are those of the knowledge (Knowledge.regions).

    Raises SettingsError with file, line and reason.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{file}: cannot be read as UTF-8 text.") from None
    rows = csv.DictReader(text.splitlines())
    columns = tuple(rows.fieldnames or ())
    if columns not in (_COLUMNS, (*_COLUMNS, _CONTRAST)):
        raise SettingsError(f"{file}: line 1: must be the columns {','.join(_COLUMNS)}, and {_CONTRAST} or no other.")
    codes: dict[Coding, Meaning] = {}
    for number, row in enumerate(rows, start=2):
        coding = _site_code(row, columns, regions, f"{file}: line {number}")
        codes[coding] = Meaning(row["modality"], row["region"], "", row["side"], row.get(_CONTRAST, ""))
    return codes


def _site_code(row: Mapping[str, str | None], columns: Sequence[str], regions: Sequence[str], at: str) -> Coding:
    choices = {
        "modality": MODALITIES[:-1],
        "region": regions,
        "side": _SIDES,
        _CONTRAST: ("", WITH_CONTRAST, "without"),
    }
    system, code = row["system"], row["code"]
    if None in row.values() or None in row:
        raise SettingsError(f"{at}: must have {len(columns)} fields.")
    if not system or not code:
        raise SettingsError(f"{at}: system and code must not be empty.")
    for column, allowed in choices.items():
        if column in row and row[column] not in allowed:
            raise SettingsError(f"{at}: {column} must be one of {', '.join(filter(None, allowed))}.")
    return read_coding(system, code)[0]
