"""The files of containers and clusters: each valid by the tool of its own kind, and both ways into a cluster alike.

No engine and no cluster runs here; docs/deployment.md says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cds_service import settings
from tests.servers import image

ROOT = Path(__file__).parents[1]
KUSTOMIZE = ROOT / "deploy" / "kustomize"
CHART = ROOT / "deploy" / "helm" / "ketamine-cds"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
REQUIRE = "KETAMINE_TEST_REQUIRE_DEPLOY"
Manifest = dict[str, Any]
OLDEST = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["kubeVersion"].strip(">=").removesuffix("-0")
WORKER_MB = 140
"""What a worker may take at most: tests/test_bench.py has that of the default settings, to which signed calls and a
FHIR server add some 15."""


def tool(*names: str) -> str:
    """The path of a program that `make tools` installs. Skips where there is none; in CI that is a failure."""
    path = f"{ROOT / 'build' / 'tools'}:{os.environ['PATH']}"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    missing = f"there is no {' or '.join(names)}: run make tools, which needs Go"
    if os.environ.get(REQUIRE):
        pytest.fail(missing)
    pytest.skip(missing)


def said(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def kustomized() -> list[Manifest]:
    program = tool("kustomize", "kubectl")
    verb = "build" if Path(program).name == "kustomize" else "kustomize"
    return list(yaml.safe_load_all(said([program, verb, str(KUSTOMIZE)])))


def templated(*changes: str) -> list[Manifest]:
    """The chart of a release called ketamine-cds."""
    options = [part for change in changes for part in ("--set", change)]
    rendered = said([tool("helm"), "template", "ketamine-cds", str(CHART), "--kube-version", OLDEST, *options])
    return [each for each in yaml.safe_load_all(rendered) if each]


def one(manifests: list[Manifest], kind: str, name: str = "ketamine-cds") -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    return found


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


# Images and compose -------------------------------------------------------------------------------------------------


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    program = Path(sys.executable).with_name("hadolint")
    assert said([str(program), "--no-color", str(ROOT / "Dockerfile")]) == ""


def test_compose_reads_its_file_and_knows_all_that_stands_in_it() -> None:
    """By the reader that `docker compose` itself is built on."""
    read = json.loads(said([tool("compose-spec"), "-format", "json", "docker-compose.yml"]))
    assert set(read["services"]) == {"ketamine-cds", "postgres", "hapi", "sample-patients"}
    ours = read["services"]["ketamine-cds"]["environment"]
    given = settings.load({name: value for name, value in ours.items() if name.startswith(settings.PREFIX)})
    assert given.store == given.replay_url == "postgresql://cds:only-to-try@postgres/cds"
    for name, service in read["services"].items():
        assert service["mem_limit"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def test_every_file_names_this_version_of_the_service() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    (tag,) = yaml.safe_load((KUSTOMIZE / "kustomization.yaml").read_text("utf-8"))["images"]
    assert {chart["version"], chart["appVersion"], tag["newTag"]} == {VERSION}
    for name in ("ketamine-cds", "sample-patients"):
        assert compose[name]["image"] == f"ketamine-cds:{VERSION}"


# Clusters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("way", [kustomized, templated])
def test_every_manifest_is_one_that_kubernetes_knows(way: Any, version: str) -> None:
    manifests = way()
    assert len(manifests) == 7
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_shape_of_the_secret_is_one_that_kubernetes_knows_and_has_the_keys_that_pods_ask_for() -> None:
    secret = yaml.safe_load((KUSTOMIZE / "secret.yaml").read_text("utf-8"))
    kubernetes_validate.validate(secret, kubernetes_validate.latest_version(), strict=True)
    (container,) = yaml.safe_load((KUSTOMIZE / "deployment.yaml").read_text("utf-8"))["spec"]["template"]["spec"][
        "containers"
    ]
    asked = {each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"]}
    assert set(secret["stringData"]) == asked | {"store-key"}


def test_helm_lints_the_chart_and_refuses_values_that_cannot_be_meant() -> None:
    said([tool("helm"), "lint", "--strict", str(CHART)])
    for change in ("autoscaling.minReplicas=1", "setings.x=1", "settings.KETAMINE_CDS_STORE=off"):
        command = [tool("helm"), "template", str(CHART), "--kube-version", OLDEST, "--set", change]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0, change
        assert "values don't meet the specifications of the schema" in done.stderr


def test_the_chart_and_the_kustomization_say_the_same() -> None:
    assert {kind: bare(each) for kind, each in by_kind(templated()).items()} == {
        kind: bare(each) for kind, each in by_kind(kustomized()).items()
    }


def by_kind(manifests: list[Manifest]) -> dict[tuple[str, bool], Manifest]:
    return {(each["kind"], "-clients" in each["metadata"]["name"]): each for each in manifests}


def bare(manifest: Manifest) -> Manifest:
    """Without what only one of the two tools adds: more labels, digests of the configuration, comments."""
    made: Manifest = json.loads(json.dumps(manifest))
    labels = made["metadata"].pop("labels")
    made["metadata"]["labels"] = {name: labels[name] for name in labels if name.endswith(("/name", "/instance"))}
    made["metadata"]["name"] = _undigested(made["metadata"]["name"])
    if made["kind"] == "Deployment":
        made["spec"]["template"]["metadata"].pop("annotations", None)
        spec = made["spec"]["template"]["spec"]
        for named in (spec["volumes"][1]["configMap"], spec["containers"][0]["envFrom"][0]["configMapRef"]):
            named["name"] = _undigested(named["name"])
    if "clients.yaml" in made.get("data", {}):
        made["data"]["clients.yaml"] = yaml.safe_load(made["data"]["clients.yaml"])
    return made


def _undigested(name: str) -> str:
    """A name without the digest of its content that Kustomize puts behind it."""
    return re.sub(r"-[a-z0-9]{10}$", "", name)


@pytest.mark.parametrize("way", [kustomized, templated])
def test_a_pod_starts_with_its_settings_and_asks_for_tokens(way: Any) -> None:
    """What the image sets, then the settings, then the secret: as the service reads it, and nothing else."""
    manifests = way()
    spec = pod(manifests)
    assert spec["enableServiceLinks"] is False, "Kubernetes would set KETAMINE_CDS_PORT=tcp://…"
    (container,) = spec["containers"]
    environment = _of_the_image() | next(
        each["data"] for each in manifests if each["kind"] == "ConfigMap" and "clients.yaml" not in each["data"]
    )
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    for name in ("KETAMINE_CDS_CLIENTS", "KETAMINE_CDS_STORE_KEY_FILE"):
        assert str(Path(environment.pop(name)).parent) in mounted
    environment |= {each["name"]: "postgresql://cds@postgres/cds" for each in container["env"]}
    given = settings.load(environment)
    assert given.authenticates
    assert given.store == given.replay_url
    assert str(given.state_folder) in mounted
    assert given.port == container["ports"][0]["containerPort"]
    workers = given.workers + given.spare_workers
    assert _bytes(container["resources"]["requests"]["memory"]) >= workers * WORKER_MB * 1e6
    assert _bytes(container["resources"]["limits"]["memory"]) >= (workers + 1) * WORKER_MB * 1e6


@pytest.mark.parametrize("way", [kustomized, templated])
def test_a_pod_has_no_rights_that_it_does_not_need(way: Any) -> None:
    spec = pod(way())
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"\nUSER {spec['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text("utf-8")
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("way", [kustomized, templated])
def test_two_pods_stay_whatever_happens_and_each_object_means_the_same_pods(way: Any) -> None:
    manifests = way()
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one(manifests, "HorizontalPodAutoscaler")["spec"]["minReplicas"] == 2
    assert "replicas" not in one(manifests, "Deployment")["spec"], "an apply would set the autoscaler's number back"
    assert one(manifests, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    for found in (
        one(manifests, "Service")["spec"]["selector"],
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        pod(manifests)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert found == labels
    (container,) = pod(manifests)["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_more_files_and_another_secret_reach_the_pod() -> None:
    manifests = templated(
        "files.overlay\\.yaml=limits: {}", "secret=other", "image.tag=v2", "networkPolicy.enabled=false"
    )
    assert one(manifests, "ConfigMap", "ketamine-cds-clients")["data"]["overlay.yaml"] == "limits: {}"
    spec = pod(manifests)
    assert spec["volumes"][2]["secret"]["secretName"] == "other"
    assert spec["containers"][0]["image"] == "ketamine-cds:v2"
    assert "NetworkPolicy" not in {each["kind"] for each in manifests}


def _of_the_image() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    pairs = [part for kind, rest in image.instructions(text) if kind == "ENV" for part in rest.split()]
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs) if name.startswith(settings.PREFIX)}


def _bytes(text: str) -> int:
    return int(text[:-2]) * {"Mi": 2**20, "Gi": 2**30}[text[-2:]]
