"""The Helm chart: by helm's own check, by the schemas of Kubernetes, and by what we hold each pod to."""

import json
import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

CHART = Path(__file__).parents[1] / "deploy" / "helm"
# The versions of Kubernetes of which the schemas are asked: the first that has what the chart needs, and the newest.
VERSIONS = ("1.30", "1.37")
SITE: Mapping[str, Any] = {
    "image": {"repository": "registry.example.org/sitbone", "digest": f"sha256:{'a' * 64}"},
    "publicBaseUrl": "https://cds.example.org/pain",
    "draft": "show",
    "configSecret": "sitbone-config",
    "secrets": "sitbone-secrets",
}

if platform.machine() != "x86_64":
    pytest.skip("the package that carries Helm has no wheel for this processor", allow_module_level=True)
import helm_python as helm  # noqa: E402 - there is none where the tests are left out


@pytest.fixture(scope="module")
def chart() -> Iterator[Any]:
    """The chart, as Helm has read it."""
    with helm.Chart.load(CHART) as read:
        yield read


@pytest.fixture(scope="module")
def objects(chart: Any) -> dict[str, Any]:
    """What the chart makes, by kind and name."""
    made = chart.render({**SITE, "settings": {"SITBONE_WORKERS": "4"}}, name="pain")
    found = [each for text in made.values() for each in yaml.safe_load_all(text) if each]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def pods(objects: Mapping[str, Any]) -> Iterator[Any]:
    """What each pod is to be."""
    return (each["spec"]["template"]["spec"] for each in objects.values() if "template" in each["spec"])


def test_the_chart_is_of_this_version_and_its_values_are_those_of_its_schema(repository: Path) -> None:
    import jsonschema  # noqa: PLC0415 - almost a second, for each process that collects tests

    about = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    version = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert about["version"] == about["appVersion"] == version
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    # What a site has to say is empty, and refused as such; all else is as it has to be.
    wrong = {".".join(map(str, each.absolute_path)) for each in jsonschema.Draft7Validator(schema).iter_errors(values)}
    assert wrong == {*SITE, "image.digest", "image.repository"} - {"image"}


def test_each_setting_that_the_chart_makes_is_one_of_the_service() -> None:
    named = set(re.findall(r"name: (SITBONE_\w+)", "".join(path.read_text("utf-8") for path in CHART.rglob("*.yaml"))))
    assert "SITBONE_CLIENTS" in named
    known = {variable.removesuffix("_FILE") for variable in named}
    # A name that is none would end the start.
    assert Settings.from_environment(
        {**dict.fromkeys(known & {"SITBONE_TRUSTED_PROXIES"}, "1"), "SITBONE_DRAFT": "show"}
    )
    assert known <= {f"SITBONE_{name.upper()}" for name in Settings.__dataclass_fields__}


def test_helm_finds_nothing_wrong_with_it() -> None:
    # An icon is all that is recommended to it; what is worse than a recommendation counts.
    said = helm.lint(CHART, dict(SITE), strict=True, kube_version=f"v{VERSIONS[0]}.0")
    assert said["total_charts_linted"] == 1
    assert ([each for each in said["messages"] if each["severity"] > 1], said["errors"]) == ([], [])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_makes_is_what_kubernetes_has_and_what_is_not_is_refused(objects: dict[str, Any], version: str) -> None:
    import kubernetes_validate  # noqa: PLC0415 - almost a second, for each process that collects tests

    for each in objects.values():
        kubernetes_validate.validate(each, version, strict=True)
    wrong = {**objects["StatefulSet/pain"], "spec": {**objects["StatefulSet/pain"]["spec"], "replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"image": {**SITE["image"], "digest": "latest"}}, "digest"),
        ({"publicBaseUrl": "http://cds.example.org"}, "publicBaseUrl"),
        ({"draft": "yes"}, "draft"),
        ({"configSecret": ""}, "configSecret"),
        ({"settings": {"WORKERS": "2"}}, "WORKERS"),
        ({"replicas": 0}, "replicas"),
    ],
)
def test_values_that_would_not_start_are_refused_by_name(chart: Any, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=named):
        chart.render({**SITE, **values}, name="pain")
    assert any(named in each for each in helm.lint(CHART, {**SITE, **values})["errors"])


def test_each_pod_is_without_rights_on_a_read_only_root_and_gets_no_variables_of_services(
    objects: dict[str, Any],
) -> None:
    assert len([*pods(objects)]) == 2
    for pod in pods(objects):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == "{repository}@{digest}".format(**SITE["image"])
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_the_service_is_asked_whether_it_lives_and_whether_it_answers_and_is_drained_before_it_ends(
    objects: dict[str, Any],
) -> None:
    spec = objects["StatefulSet/pain"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < drain < spec["terminationGracePeriodSeconds"]
    assert objects["PodDisruptionBudget/pain"]["spec"]["maxUnavailable"] == 1
    selected = objects["PodDisruptionBudget/pain"]["spec"]["selector"]["matchLabels"]
    assert selected == objects["Service/pain"]["spec"]["selector"]
    assert selected.items() <= objects["StatefulSet/pain"]["spec"]["template"]["metadata"]["labels"].items()
    assert {"name": "SITBONE_WORKERS", "value": "4"} in container["env"]


def test_the_audit_trail_is_brought_up_to_date_before_the_first_pod(objects: dict[str, Any]) -> None:
    job = objects["Job/pain-upgrade"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sitbone", "db", "upgrade"]


def test_what_is_suspended_outlives_a_pod(objects: dict[str, Any]) -> None:
    spec = objects["StatefulSet/pain"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    store = next(each["value"] for each in container["env"] if each["name"] == "SITBONE_STORE")
    mounted = next(each for each in container["volumeMounts"] if store.startswith(f"{each['mountPath']}/"))
    assert mounted["name"] == spec["volumeClaimTemplates"][0]["metadata"]["name"]
    # Made by the service itself, closed to others: the volume is open to the group of the pod.
    assert spec["template"]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
