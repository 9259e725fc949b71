"""The manifests of `cluster/kuberay` pass every check; `make lint` plants faults and sees that the checks find them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support import ROOT
from tests.support.crds import real
from tests.support.manifests.checks import KUBERNETES
from tests.support.manifests.documents import KUBERAY, Document, documents, name_of
from tests.support.tools import CRDS


@pytest.mark.parametrize("check", KUBERNETES)
def test_the_manifests_hold(check: str) -> None:
    assert list(KUBERNETES[check](documents())) == []


@pytest.mark.needs("KubeRay's CRDs")
@pytest.mark.parametrize("document", [each for each in documents() if each["apiVersion"] == "ray.io/v1"], ids=name_of)
def test_kuberay_s_own_crds_take_them(document: Document) -> None:
    jsonschema.validate(document, real(Path(os.environ[CRDS]))[document["kind"]])


def test_kustomize_takes_what_makes_a_night() -> None:
    found = yaml.safe_load((KUBERAY / "kustomization.yaml").read_text())

    assert set(found["resources"]) <= {path.name for path in KUBERAY.glob("*.yaml")}
    assert {"namespace.yaml", "network.yaml", "nightly.yaml"} <= set(found["resources"])


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    folder = ROOT / "cluster"
    made = {".yaml", ".json", ".dockerignore", ""}
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in made]
    named = [str(path.relative_to(folder)) for path in files if path.parent.name not in ("grafana", "prometheus")]

    assert len(named) > 10
    assert [each for each in named if f"`{each}`" not in page] == []
    assert set(re.findall(r"`((?:kuberay|iam)/[\w.-]+)`", page)) <= set(named)
