"""The state of each recommendation, from its file, the signatures and the day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from service.release.states import ACTIVE, DRAFT, OVERDUE, SUSPENDED
from tests.charts import packaged
from tests.release.conftest import CLINICIAN, GOVERNOR, Site
from tests.release.keys import Json, clinical

NOW = "2026-11-22T12:00"
FEVER = "rf2-fever"


def test_what_a_clinician_and_governance_have_signed_is_active_with_both_names(site: Site) -> None:
    standings = site.at(NOW)
    assert standings.state == ACTIVE
    assert standings.counts() == {"active": len(standings.by_id)}
    standing = standings.by_id[FEVER]
    assert standing.clinical
    assert standing.governance
    assert standings.governance
    assert (standing.clinical.signer.name, standing.governance.signer.name) == (CLINICIAN, GOVERNOR)
    assert standing.clinical.in_words == "A. Example (sports physician) 2026-11-01"
    assert str(standing.review_by) == str(standings.earliest_review) == "2027-11-01"
    assert standings.version == site.digests.version


@pytest.mark.parametrize("missing", ["clinical", "governance"])
def test_without_one_of_both_signatures_all_is_a_draft(site: Site, missing: str) -> None:
    (site.folder / "signatures" / f"{missing}.json").unlink()
    standings = site.at(NOW)
    assert standings.counts() == {"draft": len(standings.by_id)}
    assert (
        standings.by_id[FEVER].why
        == {
            "clinical": "no clinician has signed this content",
            "governance": "governance has not released this content",
        }[missing]
    )


def test_without_a_file_of_signers_no_folder_brings_its_own_trust(site: Site) -> None:
    site.set_signers(clinician={"key": site.governor.public, "name": GOVERNOR})
    standings = site.at(NOW)
    assert standings.state == DRAFT
    assert "is signed by a key that is not among the signers" in str(site.release().refused[0])


def test_an_edit_after_signing_makes_a_draft_of_what_it_touches_and_ends_the_release(site: Site) -> None:
    path = site.folder / "recommendations" / f"{FEVER}.toml"
    path.write_text(path.read_text("utf-8").replace('title = "', 'title = "New: ', 1), "utf-8")
    standings = site.at(NOW)
    assert standings.by_id[FEVER].why == "no clinician has signed this content"
    others = {each.why for each in standings.by_id.values() if each.id != FEVER}
    assert others == {"governance has not released this content"}


def test_one_draft_in_a_signed_set_is_a_draft_alone(new_site: Callable[[], Site]) -> None:
    site = new_site()
    covers = {id_: digest for id_, digest in site.digests.recommendations.items() if id_ != FEVER}
    site.sign(clinical={"covers": covers})
    standings = site.at(NOW)
    assert [each.id for each in standings.by_id.values() if each.state != ACTIVE] == [FEVER]
    assert standings.state == DRAFT
    assert standings.counts() == {"active": len(covers), "draft": 1}


@pytest.mark.parametrize("file", ["guideline.toml", f"recommendations/{FEVER}.toml"])
def test_what_its_author_has_not_finished_stays_a_draft_under_any_signature(
    new_site: Callable[[], Site], file: str
) -> None:
    site = new_site()
    site.set_status(file, "draft")
    site.sign()
    standing = site.at(NOW).by_id[FEVER]
    assert (standing.state, standing.why) == (DRAFT, "its author has not finished it")
    assert standing.clinical is None


def test_a_retired_recommendation_never_fires_and_says_so(new_site: Callable[[], Site]) -> None:
    site = new_site()
    site.set_status(f"recommendations/{FEVER}.toml", "retired")
    site.sign()
    standings = site.at(NOW)
    assert standings.by_id[FEVER].state == "retired"
    assert standings.state == ACTIVE
    knowledge = site.digests.knowledge
    assert FEVER not in {each.id for each in knowledge.recommendations}
    assert [each.id for each in knowledge.retired] == [FEVER]


@pytest.mark.parametrize(
    ("at", "state"), [("2026-12-07T22:59", DRAFT), ("2026-12-07T23:00", ACTIVE), ("2026-12-08T00:30", ACTIVE)]
)
def test_what_begins_tomorrow_is_a_draft_until_midnight_in_the_zone_of_the_site(
    new_site: Callable[[], Site], at: str, state: str
) -> None:
    site = new_site()
    site.zone = ZoneInfo("Europe/Berlin")
    site.sign(clinical={"effectiveFrom": "2026-12-08"})
    standing = site.at(at).by_id[FEVER]
    assert standing.state == state
    assert standing.why == ("it begins on 2026-12-08" if state == DRAFT else "")


def test_one_release_in_memory_goes_over_midnight(new_site: Callable[[], Site]) -> None:
    site = new_site()
    site.sign(governance={"effectiveFrom": "2026-11-23"})
    release = site.release()
    before, after = datetime(2026, 11, 22, 23, 59, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    assert release.at(before).state == DRAFT
    assert release.at(before) is release.at(before)
    assert release.at(after).state == ACTIVE


@pytest.mark.parametrize(
    ("day", "state"), [("2027-11-01", ACTIVE), ("2027-11-02", OVERDUE), ("2027-12-01", OVERDUE), ("2027-12-02", DRAFT)]
)
def test_past_its_review_it_is_overdue_and_after_the_grace_a_draft(site: Site, day: str, state: str) -> None:
    standings = site.at(f"{day}T12:00", grace_days=30)
    assert standings.state == standings.by_id[FEVER].state == state
    if state == OVERDUE:
        assert str(standings.earliest_review) == "2027-11-01"


def test_signed_again_the_later_review_counts(site: Site) -> None:
    members = clinical(site.digests, CLINICIAN, signed="2026-11-20", reviewBy="2028-11-01")
    site.write("clinical-2027", members, site.clinician)
    assert str(site.at(NOW).by_id[FEVER].review_by) == "2027-11-01"
    standing = site.at(NOW).by_id[FEVER]
    assert standing.clinical
    assert standing.clinical.name == "clinical-2027"


def test_a_suspended_one_is_suspended_whatever_else_it_is(site: Site) -> None:
    release, suspended = site.release(), frozenset({FEVER})
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert release.at(now, suspended).by_id[FEVER].state == SUSPENDED
    assert release.at(now, suspended).suspended == (FEVER,)
    assert release.at(now).by_id[FEVER].state == ACTIVE


@pytest.mark.parametrize(
    ("revokes", "since", "drafts"),
    [
        ({"signature": "clinical"}, "2026-11-01", "all"),
        ({"key": "clinician"}, "2026-11-01", "all"),
        ({"key": "clinician"}, "2026-11-23", "all"),
        ({"recommendation": FEVER, "digest": "own"}, "2026-11-22", "one"),
        ({"recommendation": FEVER, "digest": "own"}, "2026-11-23", "none"),
        ({"recommendation": FEVER, "digest": "sha256:of-before"}, "2026-11-01", "none"),
    ],
)
def test_what_is_revoked_is_a_draft(site: Site, revokes: Json, since: str, drafts: str) -> None:
    known = {"clinician": site.clinician.public, "own": site.digests.recommendations[FEVER]}
    site.revoke({name: known.get(value, value) for name, value in revokes.items()}, since=since)
    by_id = site.at(NOW).by_id
    found = [each.id for each in by_id.values() if each.state == DRAFT]
    assert found == {"all": [*by_id], "one": [FEVER], "none": []}[drafts]


def test_all_that_is_shipped_is_a_draft() -> None:
    assert {each.status for each in packaged().every_recommendation()} == {"draft"}
    assert packaged().status == "draft"
