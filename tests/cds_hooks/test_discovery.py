from typing import Any

import pytest

from cds_hooks import CdsService, HookMismatch, HookResponse, ServiceRegistry, UnknownService


def service(**members: Any) -> CdsService[HookResponse]:
    described = {
        "id": "greeter",
        "hook": "patient-view",
        "title": "Greeter",
        "description": "Greets",
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
        "answer": lambda _: HookResponse(()),
        **members,
    }
    return CdsService(**described)


def test_discovery_describes_each_service_and_leaves_out_what_has_no_value() -> None:
    registry = ServiceRegistry(
        [
            service(),
            service(
                hook="encounter-start",
                prefetch={},
                version=None,
                usage_requirements="R4",
                extension=lambda: {"org.example.x": {"a": 1}},
            ),
        ]
    )
    assert registry.discovery() == {
        "services": [
            {
                "hook": "patient-view",
                "title": "Greeter",
                "description": "Greets",
                "id": "greeter",
                "prefetch": {"patient": "Patient/{{context.patientId}}"},
                "version": "3.0.0",
            },
            {
                "hook": "encounter-start",
                "title": "Greeter",
                "description": "Greets",
                "id": "greeter",
                "usageRequirements": "R4",
                "extension": {"org.example.x": {"a": 1}},
            },
        ]
    }


def test_a_server_without_services_has_an_empty_array_of_them() -> None:
    assert ServiceRegistry([]).discovery() == {"services": []}


def test_services_are_found_by_id_and_hook_and_share_either() -> None:
    first, second, third = service(), service(hook="order-sign"), service(id="other")
    registry = ServiceRegistry([first, second, third])
    assert registry.find("greeter", "patient-view") is first
    assert registry.find("greeter", "order-sign") is second
    assert registry.find("other", "patient-view") is third
    assert registry.hooks_of("greeter") == ("patient-view", "order-sign")


def test_a_former_id_is_answered_and_not_in_discovery() -> None:
    first, renamed = service(), service(id="greeter-sign", hook="order-sign", former_ids=("greeter",))
    registry = ServiceRegistry([first, renamed, service(id="teller", hook="order-select", former_ids=("old",))])
    assert [entry["id"] for entry in registry.discovery()["services"]] == ["greeter", "greeter-sign", "teller"]
    assert registry.find("greeter", "order-sign") is renamed
    assert registry.find("greeter", "patient-view") is first
    assert registry.current_id("old") == "teller"
    # It may be either.
    assert registry.current_id("greeter") == "greeter"


def test_a_former_id_is_not_one_of_another_service_on_the_same_hook() -> None:
    with pytest.raises(ValueError, match="'greeter' is published twice for 'patient-view'"):
        ServiceRegistry([service(), service(id="other", former_ids=("greeter",))])


def test_an_unknown_id_is_not_found() -> None:
    with pytest.raises(UnknownService):
        ServiceRegistry([service()]).find("nobody", "patient-view")
    with pytest.raises(UnknownService):
        ServiceRegistry([]).hooks_of("greeter")


def test_a_hook_that_an_id_does_not_have_is_refused_with_those_that_it_has() -> None:
    registry = ServiceRegistry([service(), service(hook="order-sign")])
    with pytest.raises(HookMismatch) as refused:
        registry.find("greeter", "order-select")
    assert "patient-view and order-sign" in refused.value.diagnostics
    assert "received order-select" in refused.value.diagnostics


def test_the_same_id_and_hook_cannot_be_published_twice() -> None:
    with pytest.raises(ValueError, match="published twice for 'patient-view'"):
        ServiceRegistry([service(), service()])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"id": ""}, "part of a URL"),
        ({"id": "a/b"}, "part of a URL"),
        ({"id": "a b"}, "part of a URL"),
        ({"id": ".."}, "part of a URL"),
        ({"former_ids": ("a/b",)}, "part of a URL"),
        ({"hook": "fancy-structure"}, "neither in the CDS Hooks Library"),
        ({"title": ""}, "title and description"),
        ({"description": ""}, "title and description"),
        ({"prefetch": {"patient": "Patient/{{Patient.id}}"}}, "prefetch template patient"),
    ],
)
def test_a_service_that_cannot_be_published_stops_the_start(members: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        service(**members)
