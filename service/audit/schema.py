"""The tables of the audit trail. Times are milliseconds since 1970 in UTC; a client without a name is the empty text.

What is a list or a map is kept as JSON in one canonical form: there are few different ones, so that a query groups by
the text and only the groups are read.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    case,
    false,
)

from service.release.mode import LIVE

# The newest of migrations/versions; what the tables below are.
HEAD = "0010"
# A name of before, and it stays: by it an older release knows that it must not begin an audit trail of its own.
VERSION_TABLE = "record_version"

# In milliseconds.
DAY = 86_400_000

METADATA = MetaData()


def _is_check() -> Column[bool]:
    """Whether a row came marked as one of a check of the service: it is kept, and no figure counts it."""
    return Column("is_check", Boolean, nullable=False, server_default=false())


def _mode() -> Column[str]:
    """Live, or silent where nothing was sent: no figure mixes the two."""
    return Column("mode", String(8), nullable=False, server_default=LIVE)


CALLS = Table(
    "audit_calls",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("correlation", String(64), nullable=False),
    Column("hook_instance", String(16)),
    Column("patient", String(32)),
    Column("client", String(64), nullable=False),
    Column("service", Text, nullable=False),
    Column("hook", Text),
    Column("status", Integer, nullable=False),
    Column("knowledge", Text, nullable=False),
    # Prefetch key -> state; recommendation that fired -> its indicator on a card, suspended or silent where it was not
    # said, or "" for one that is on none;
    # stage -> microseconds.
    Column("states", Text, nullable=False),
    Column("fired", Text, nullable=False),
    Column("took", Text, nullable=False),
    Column("cards", Integer, nullable=False),
    _is_check(),
    # Type -> how many of the resources that were read for the cards the FHIR models refuse; null where nobody asked.
    Column("not_valid", Text),
    _mode(),
)
CARDS = Table(
    "audit_cards",
    METADATA,
    Column("call", String(32), primary_key=True),
    Column("uuid", String(36), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("client", String(64), nullable=False),
    Column("patient", String(32), nullable=False),
    Column("service", Text, nullable=False),
    Column("knowledge", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("indicator", String(8), nullable=False),
    Column("red_flag", Boolean, nullable=False),
    # The first recommendation, which with the topic says what card it is; all of them, as pairs of id and version.
    Column("recommendation", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("recommendations", Text, nullable=False),
    Column("suggestions", Text, nullable=False),
    # Since when it is suppressed; null for a card that was shown.
    Column("suppressed_since", BigInteger),
    _is_check(),
    _mode(),
    Index("ix_audit_cards_client_uuid", "client", "uuid"),
    Index("ix_audit_cards_client_patient", "client", "patient"),
)
FEEDBACK = Table(
    "audit_feedback",
    METADATA,
    # A digest of what was reported: the same report again is the same row.
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("correlation", String(64), nullable=False),
    Column("client", String(64), nullable=False),
    Column("service", Text, nullable=False),
    Column("card", String(36), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("outcome_at", BigInteger, nullable=False),
    Column("suggestions", Text, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("commented", Boolean, nullable=False),
    Column("times", Integer, nullable=False),
    _is_check(),
    Index("ix_audit_feedback_client_card", "client", "card"),
)
PAGES = Table(
    "audit_pages",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("correlation", String(64), nullable=False),
    # A keyed hash of the id of one page of the second opinion: its steps belong together. The patient as in CALLS.
    Column("page", String(32), nullable=False),
    Column("patient", String(32), nullable=False),
    Column("client", String(64), nullable=False),
    # shown, answered, saved or drafted.
    Column("step", String(8), nullable=False),
    Column("knowledge", Text, nullable=False),
    # As in CALLS.
    Column("fired", Text, nullable=False),
    # How many the page had; the type of what was written to the chart, and how many of it are there.
    Column("answers", Integer, nullable=False),
    Column("written_as", Text, nullable=False),
    Column("written", Integer, nullable=False),
)
# Which content answered, so that it can be read again: the folder is packed (service/release/archive.py). `number` is
# the version that the knowledge gives itself, `version` has the beginning of the digest behind it, as other tables do.
RELEASES = Table(
    "audit_releases",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("version", Text, nullable=False, index=True),
    Column("knowledge", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("content", String(71), nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    # Of each signature that counted at the last start, its name, role, signer and day.
    Column("signatures", Text, nullable=False),
    Column("folder", LargeBinary, nullable=False),
)
# What the second knowledge of SITBONE_SHADOW_DIR would have decided. `live` and `shadow` are the digests of both.
# A row for each call of which it decides something otherwise; the differences are triples of kind, id and what it was
# and is (service/reasoning/differences.py).
SHADOW_CALLS = Table(
    "audit_shadow_calls",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("correlation", String(64), nullable=False),
    # As in CALLS.
    Column("patient", String(32)),
    Column("client", String(64), nullable=False),
    Column("service", Text, nullable=False),
    Column("live", String(71), nullable=False),
    Column("shadow", String(71), nullable=False),
    Column("differences", Text, nullable=False),
)
# How many calls were looked at, summed up each time that rows are written: `compared` of which so many changed, those
# with the `complaint` by either knowledge, and those that failed or were skipped because there was too much to do.
SHADOW_COUNTS = Table(
    "audit_shadow_counts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("client", String(64), nullable=False),
    Column("service", Text, nullable=False),
    Column("live", String(71), nullable=False),
    Column("shadow", String(71), nullable=False),
    Column("compared", Integer, nullable=False),
    Column("complaint", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
)
# What is counted of the calls of a day, which `at` begins, by client and mode: of no call and no patient. Which things
# there are: service/audit/days.py.
DAYS = Table(
    "audit_days",
    METADATA,
    Column("at", BigInteger, primary_key=True),
    Column("client", String(64), primary_key=True),
    Column("mode", String(8), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("calls", Integer, nullable=False),
)
# When an outcome was, as far as one can believe the clock of the client: not after it was reported.
HAPPENED = case((FEEDBACK.c.outcome_at < FEEDBACK.c.at, FEEDBACK.c.outcome_at), else_=FEEDBACK.c.at)
