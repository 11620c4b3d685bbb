"""FHIR dates and times: a partial date is the interval that it may mean."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

import msgspec

from service.remembered import Remembered

# FHIR, and how RFC 3339 lets a time be written: t or a space for T, z for Z, any fraction. And no colon in an offset.
_FORM = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)([Zz]|[+-]\d{2}:?\d{2})?)?)?)?"
)


class When(msgspec.Struct, frozen=True, order=True):
    """An instant or a span in UTC; `text` is the date as it was written, at most to the day."""

    low: datetime
    high: datetime
    text: str

    def overlaps(self, other: When) -> bool:
        return self.low <= other.high and other.low <= self.high


def read_when(value: object) -> When | None:
    """A FHIR date, dateTime or instant of any precision; None when it is none of them.

    How RFC 3339 writes a time is read as well: a time that is plain must not leave a finding without one. A dateTime
    without zone is taken as UTC, which is within a day of what was meant.
    """
    return _read(value.strip()) if isinstance(value, str) else None


# Everything of one visit has the same.
@Remembered
def _read(value: str) -> When | None:
    try:
        # Most are plain times, which need no look at their parts.
        instant = msgspec.convert(value, datetime)
        return _at(instant if instant.tzinfo else instant.replace(tzinfo=UTC), value)
    except (msgspec.ValidationError, OverflowError):
        return _read_parts(value)


def _at(instant: datetime, value: str) -> When:
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return When(instant, instant, value[:10])


def _read_parts(value: str) -> When | None:
    form = _FORM.fullmatch(value)
    if form is None:
        return None
    year, month, day, time, zone = form.groups()
    try:
        if time:
            # The end of a day and a leap second, which FHIR allows and Python does not know.
            ends = time.startswith("24:00") and not time[5:].strip(":0.")
            clock = "00:00" if ends else re.sub(r"(?<=:\d\d:)60", "59", time)
            # fromisoformat takes up to six digits of a second: 15 characters with hours and minutes.
            instant = datetime.fromisoformat(f"{value[:11]}{clock[:15]}{(zone or 'Z').upper()}") + timedelta(days=ends)
            return _at(instant, value)
        first_month, last_month = (int(month), int(month)) if month else (1, 12)
        last_day = int(day) if day else calendar.monthrange(int(year), last_month)[1]
        low = datetime(int(year), first_month, int(day) if day else 1, tzinfo=UTC)
        high = datetime(int(year), last_month, last_day, 23, 59, 59, tzinfo=UTC)
    except (ValueError, OverflowError, calendar.IllegalMonthError):
        return None
    return When(low, high, form[0])


def read_day(value: object) -> date | None:
    """The day of a FHIR dateTime as it is written, whatever its zone; None where no one day is named.

    Within a day of what read_when makes of it, at a fraction of the cost: for putting many in order.
    """
    form = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if form is None or form[3] is None:
        return None
    try:
        return date.fromisoformat(form[0][:10])
    except ValueError:
        return None


def days_before(when: When, now: datetime) -> tuple[int, int]:
    """How many days before today, at the least and at the most; a day is one number, as a clinician counts."""
    today = now.toordinal()
    return max(today - when.high.toordinal(), 0), max(today - when.low.toordinal(), 0)


def years_old(born: When, now: datetime) -> tuple[int, int]:
    """Completed years, at the least and at the most."""

    def years(birth: date) -> int:
        return now.year - birth.year - ((now.month, now.day) < (birth.month, birth.day))

    return years(born.high.date()), years(born.low.date())
