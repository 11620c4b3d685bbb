"""What an order or a study is recognised by, and the codes that a site maps itself."""

from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.chart.codes import CodeIndex
from service.chart.orders import NO_SITE_CODES, Order, OrderReader
from service.settings import SettingsError
from service.site_codes import read_site_codes
from tests.charts import CLOCK, SERVICE, build_request, packaged

LOINC, SCT = "http://loinc.org", "http://snomed.info/sct"
OWN = "https://sitbone.example.org/fhir/CodeSystem/orders"
GUIDELINE = packaged()
INDEX = CodeIndex(GUIDELINE)
READER = OrderReader(GUIDELINE, INDEX, NO_SITE_CODES)


def resource(*codings: tuple[str, str], kind: str = "ServiceRequest", **members: Any) -> dict[str, Any]:
    code = {"coding": [{"system": system, "code": code} for system, code in codings]}
    return {"resourceType": kind, "code": code, **members}


def site(*codes: str, **members: Any) -> dict[str, Any]:
    return {"coding": [{"system": SCT, "code": code} for code in codes], **members}


def read(order: dict[str, Any]) -> Order:
    return READER.order(order, "ServiceRequest/o1")


@pytest.mark.parametrize(
    ("order", "key", "side"),
    [
        (resource((LOINC, "30673-8")), "mri-pelvis", ""),
        (resource((LOINC, "36488-5")), "mri-hip", "left"),
        (resource((LOINC, "26261-8")), "mri-pelvis", "right"),
        (resource((LOINC, "24865-8")), "ct-pelvis", ""),
        (resource((SCT, "268425006")), "radiograph-pelvis", ""),
        (resource((OWN, "referral-spine")), "referral-spine", ""),
        (resource((OWN, "mri-pelvis"), (LOINC, "30673-8")), "mri-pelvis", ""),
        (resource((SCT, "306104004")), "referral-emergency", ""),
        (resource((LOINC, "30673-8"), bodySite=[site("7771000")]), "mri-pelvis", "left"),
        (resource((LOINC, "30673-8"), bodySite=site("24028007")), "mri-pelvis", "right"),
        (resource((SCT, "113091000"), bodySite=[site("287579007")]), "mri-hip", "right"),
        (resource((SCT, "113091000"), bodySite=[site("69030007")]), "mri-pelvis", ""),
        (resource((SCT, "16310003"), bodySite=[site("39723000")]), "ultrasound-sacroiliac", ""),
    ],
)
def test_an_order_is_recognised_by_its_codes(order: dict[str, Any], key: str, side: str) -> None:
    assert (read(order).key, read(order).side) == (key, side)


@pytest.mark.parametrize(
    "order",
    [
        resource((SCT, "113091000")),
        resource((SCT, "113091000"), bodySite=[site("29836001"), site("68367000")]),
        resource((LOINC, "30673-8"), (LOINC, "30687-8")),
    ],
    ids=["without a body site", "with two body sites", "under codes of two regions"],
)
def test_an_mri_of_a_region_that_cannot_be_told_has_no_key(order: dict[str, Any]) -> None:
    assert (read(order).modality, read(order).region, read(order).key) == ("mri", "", "")


@pytest.mark.parametrize(
    "order",
    [
        resource(),
        resource((LOINC, "0000-0")),
        {"resourceType": "ServiceRequest", "code": {"text": "MRI of the pelvis"}},
        {"resourceType": "ServiceRequest", "code": "30673-8"},
        {"resourceType": "ServiceRequest", "code": {"coding": [None, "x", {"code": 7, "system": []}]}},
    ],
)
def test_an_order_without_a_known_code_is_nothing_that_is_known(order: dict[str, Any]) -> None:
    assert (read(order).modality, read(order).referral, read(order).key) == ("", "", "")


def test_a_study_is_recognised_by_its_procedure_code_and_has_the_time_at_which_it_was_done() -> None:
    codes = [{"coding": [{"system": LOINC, "code": "30673-8"}]}]
    study = {"resourceType": "ImagingStudy", "procedureCode": codes, "started": "2026-11-01T10:00:00Z"}
    order = READER.order(study, "ImagingStudy/s1", "done")
    assert order.key == "mri-pelvis"
    assert order.when is not None
    assert order.when.text == "2026-11-01"


@pytest.mark.parametrize(
    ("ordered", "asked", "covers"),
    [
        ("left", "left", True),
        ("left", "right", False),
        ("left", "bilateral", False),
        ("bilateral", "left", True),
        ("", "left", True),
        ("left", "unspecified", True),
        ("left", "", True),
    ],
)
def test_an_order_covers_its_own_side_and_an_order_without_side_covers_either(
    ordered: str, asked: str, covers: bool
) -> None:
    order = Order("ServiceRequest/o1", "active", "mri", "pelvis", side=ordered)
    assert order.covers("mri-pelvis", asked) is covers
    assert not order.covers("mri-hip", asked)


def test_what_is_not_known_in_full_covers_nothing() -> None:
    assert not Order("ServiceRequest/o1", "active", "mri").covers("", "")


def test_every_own_code_is_recognised_again() -> None:
    for key in GUIDELINE.orders:
        assert read(resource((OWN, key))).key == key


def site_file(folder: Path, *rows: str, head: str = "system,code,modality,region,side") -> Path:
    file = folder / "order-codes.csv"
    file.write_text("\n".join((head, *rows)) + "\n", "utf-8")
    return file


def test_a_site_maps_its_own_codes(tmp_path: Path) -> None:
    codes = read_site_codes(
        site_file(tmp_path, "urn:example:site,RAD-7,mri,pelvis,left", "urn:x,US,ultrasound,thigh,"), GUIDELINE.regions
    )
    reader = OrderReader(GUIDELINE, INDEX, codes)
    order = reader.order(resource(("urn:example:site", "RAD-7")), "ServiceRequest/o1")
    assert (order.key, order.side) == ("mri-pelvis", "left")
    assert reader.order(resource(("urn:x", "US")), "").key == "ultrasound-thigh"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("urn:x,1,xray,pelvis,", 'line 2: modality is "xray" and must be one of radiograph, mri, ultrasound, ct.'),
        (
            "urn:x,1,mri,knee,",
            'line 2: region is "knee" and must be one of pelvis, hip, sacroiliac, lumbar-spine, thigh, leg-veins.',
        ),
        ("urn:x,1,mri,pelvis,middle", 'line 2: side is "middle" and must be one of left, right, bilateral.'),
        (",1,mri,pelvis,", "line 2: system and code must not be empty."),
        ("urn:x,1,mri", "line 2: must have 5 fields."),
        ("urn:x,1,mri,pelvis,left,more", "line 2: must have 5 fields."),
    ],
)
def test_a_wrong_row_of_a_site_file_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_site_codes(site_file(tmp_path, row), GUIDELINE.regions)
    assert str(refused.value).endswith(reason)
    assert "order-codes.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("MRI pelvis with contrast", True),
        ("MR Pelvis W contrast IV", True),
        ("MRI pelvis w/ contrast", True),
        ("MRI pelvis with IV contrast", True),
        ("MRI pelvis with and without contrast", True),
        ("MR Pelvis WO and W contrast", True),
        ("MRI pelvis w/wo contrast", True),
        ("MRI pelvis without contrast", False),
        ("MR Pelvis WO contrast", False),
        ("MRI pelvis w/o contrast", False),
        ("MRI pelvis, not with contrast", False),
        ("MRI pelvis", False),
    ],
)
def test_contrast_is_asked_for_where_the_words_of_the_code_say_so(words: str, asked: bool) -> None:
    texted = {"code": {"coding": [{"system": LOINC, "code": "30673-8"}], "text": words}}
    displayed = {"code": {"coding": [{"system": LOINC, "code": "30673-8", "display": words}]}}
    assert [read({"resourceType": "ServiceRequest", **order}).contrast for order in (texted, displayed)] == [asked] * 2


def test_a_site_says_of_its_code_whether_it_is_with_contrast_and_is_believed_before_the_words(tmp_path: Path) -> None:
    rows = ("urn:x,1,mri,pelvis,,with", "urn:x,2,mri,pelvis,,without", "urn:x,3,mri,pelvis,,")
    codes = read_site_codes(
        site_file(tmp_path, *rows, head="system,code,modality,region,side,contrast"), GUIDELINE.regions
    )
    reader = OrderReader(GUIDELINE, INDEX, codes)
    orders = [resource(("urn:x", code)) for code in "123"]
    for order in orders:
        order["code"]["text"] = "MRI pelvis with contrast"
    assert [reader.order(order, "").contrast for order in orders] == [True, False, True]


def test_a_site_code_is_with_contrast_or_without_or_says_nothing_of_it(tmp_path: Path) -> None:
    file = site_file(tmp_path, "urn:x,1,mri,pelvis,,yes", head="system,code,modality,region,side,contrast")
    with pytest.raises(SettingsError, match='line 2: contrast is "yes" and must be one of with, without'):
        read_site_codes(file, GUIDELINE.regions)


def test_a_site_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="line 1: must be the columns system,code,modality,region,side"):
        read_site_codes(site_file(tmp_path, head="code,system"), GUIDELINE.regions)


@pytest.mark.parametrize(
    "changed",
    [{"modifierExtension": [{"url": "http://example.org/not-done"}]}, {"implicitRules": "http://example.org"}],
)
def test_an_order_whose_meaning_is_changed_is_left_out_and_counted(changed: dict[str, Any]) -> None:
    placed = [{"order": "loinc|30673-8", "side": "left"}, {"order": "loinc|30679-5"}]
    present = ["buttock-pain", "sudden-onset", "sharp-pain", "pop-at-injury"]
    request = build_request({"age": 40, "side": "left", "present": present, "orders": placed})
    request["prefetch"]["orders"]["entry"][0]["resource"] |= changed
    answer = create_app(clock=lambda: CLOCK).test_client().post(SERVICE, json=request).get_json()
    assert answer["extension"]["org.sitbone.assessment"]["leftOut"]["unreadable"] == 1
    # The MRI is suggested, as if nobody had ordered it.
    labels = [suggestion["label"] for card in answer["cards"] for suggestion in card.get("suggestions", ())]
    assert any("MRI of the pelvis" in label for label in labels)
