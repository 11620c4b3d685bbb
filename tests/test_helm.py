"""The Helm chart: by helm's own check, by the schemas of Kubernetes, and by what we hold each pod to."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.settings import Settings

CHART = Path(__file__).parents[1] / "deploy" / "helm"
# The versions of Kubernetes of which the schemas are asked: the first that has what the chart needs, and the newest.
VERSIONS = ("1.30", "1.37")
SITE: Mapping[str, str] = {
    "image.repository": "registry.example.org/sitbone",
    "image.digest": f"sha256:{'a' * 64}",
    "publicBaseUrl": "https://cds.example.org/pain",
    "draft": "show",
    "configSecret": "sitbone-config",
    "secrets": "sitbone-secrets",
}
needs_helm = pytest.mark.needs_system("helm", "it makes the objects of the chart")


def helm(command: str, **values: str) -> subprocess.CompletedProcess[str]:
    """What helm says to the chart with the values of a site, and others in their place or beside them."""
    given = [f"--set={name.replace('__', '.')}={value}" for name, value in {**SITE, **values}.items()]
    name = ["pain"] if command == "template" else []
    # Without a cluster it takes the version that it was built for, which one from its source does not know.
    version = f"--kube-version={VERSIONS[0]}"
    return subprocess.run(
        ["helm", command, *name, str(CHART), version, *given], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """What the chart makes, by kind and name."""
    made = helm("template", settings__SITBONE_WORKERS="4")
    assert made.returncode == 0, made.stderr
    found = [each for each in yaml.safe_load_all(made.stdout) if each]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def pods(objects: Mapping[str, Any]) -> Iterator[Any]:
    """What each pod is to be."""
    return (each["spec"]["template"]["spec"] for each in objects.values() if "template" in each["spec"])


def test_the_chart_is_of_this_version_and_its_values_are_those_of_its_schema(repository: Path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    version = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    # What a site has to say is empty, and refused as such; all else is as it has to be.
    wrong = {".".join(map(str, each.absolute_path)) for each in jsonschema.Draft7Validator(schema).iter_errors(values)}
    assert wrong == SITE.keys()


def test_each_setting_that_the_chart_makes_is_one_of_the_service() -> None:
    named = set(re.findall(r"name: (SITBONE_\w+)", "".join(path.read_text("utf-8") for path in CHART.rglob("*.yaml"))))
    assert "SITBONE_CLIENTS" in named
    known = {variable.removesuffix("_FILE") for variable in named}
    # A name that is none would end the start.
    assert Settings.from_environment(
        {**dict.fromkeys(known & {"SITBONE_TRUSTED_PROXIES"}, "1"), "SITBONE_DRAFT": "show"}
    )
    assert known <= {f"SITBONE_{name.upper()}" for name in Settings.__dataclass_fields__}


@needs_helm
def test_helm_finds_nothing_wrong_with_it() -> None:
    linted = helm("lint")
    assert linted.returncode == 0, linted.stdout
    assert "0 chart(s) failed" in linted.stdout


@needs_helm
@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_makes_is_what_kubernetes_has_and_what_is_not_is_refused(objects: dict[str, Any], version: str) -> None:
    for each in objects.values():
        kubernetes_validate.validate(each, version, strict=True)
    wrong = {**objects["StatefulSet/pain"], "spec": {**objects["StatefulSet/pain"]["spec"], "replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@needs_helm
@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"image.digest": "latest"}, "digest"),
        ({"publicBaseUrl": "http://cds.example.org"}, "publicBaseUrl"),
        ({"draft": "yes"}, "draft"),
        ({"configSecret": ""}, "configSecret"),
        ({"settings.WORKERS": "2"}, "WORKERS"),
        ({"replicas": "0"}, "replicas"),
    ],
)
def test_values_that_would_not_start_are_refused_by_name(values: dict[str, str], named: str) -> None:
    refused = helm("template", **values)
    assert refused.returncode != 0
    assert named in refused.stderr


@needs_helm
def test_each_pod_is_without_rights_on_a_read_only_root_and_gets_no_variables_of_services(
    objects: dict[str, Any],
) -> None:
    assert len([*pods(objects)]) == 2
    for pod in pods(objects):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == f"{SITE['image.repository']}@{SITE['image.digest']}"
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@needs_helm
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


@needs_helm
def test_the_audit_trail_is_brought_up_to_date_before_the_first_pod(objects: dict[str, Any]) -> None:
    job = objects["Job/pain-upgrade"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sitbone", "db", "upgrade"]


@needs_helm
def test_what_is_suspended_outlives_a_pod(objects: dict[str, Any]) -> None:
    spec = objects["StatefulSet/pain"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    store = next(each["value"] for each in container["env"] if each["name"] == "SITBONE_STORE")
    mounted = next(each for each in container["volumeMounts"] if store.startswith(f"{each['mountPath']}/"))
    assert mounted["name"] == spec["volumeClaimTemplates"][0]["metadata"]["name"]
    # Made by the service itself, closed to others: the volume is open to the group of the pod.
    assert spec["template"]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
