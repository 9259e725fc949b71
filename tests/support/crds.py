"""KubeRay's kinds as JSON schemas, as far as our manifests use them; Kubernetes' schemas check their pods.

Written by hand after the CRDs of KubeRay 1.7.0, and strict: a field that is not here is refused, so that a slip of the
pen cannot be pruned away in silence. Where the environment names a folder of real CRDs (`BONAFIDE_KUBERAY_CRDS`), the
manifests are held to those, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

POD: Schema = {"type": "object", "required": ["spec"]}  # its content is checked by kubernetes-validate
TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
SECONDS: Schema = {"type": "integer", "minimum": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}


def _object(required: str = "", **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


CLUSTER = _object(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object("mode", mode={"enum": ["token"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_object(
        version={"enum": ["v1", "v2"]},
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=COUNT,
        resources={"type": "object"},
        securityContext={"type": "object"},
        volumeMounts={"type": "array"},
    ),
    headGroupSpec=_object(
        "rayStartParams template", serviceType={"enum": ["ClusterIP"]}, rayStartParams=TEXTS, template=POD
    ),
    workerGroupSpecs={
        "type": "array",
        "minItems": 1,
        "items": _object(
            "groupName minReplicas maxReplicas rayStartParams template",
            groupName={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        ),
    },
)

DELETION = _object(
    "policy condition",
    policy={"enum": ["DeleteCluster"]},  # of the others, DeleteWorkers is refused with autoscaling
    condition=_object(
        "ttlSeconds",
        jobStatus={"enum": ["SUCCEEDED", "FAILED"]},
        jobDeploymentStatus={"enum": ["Failed"]},
        ttlSeconds=COUNT,
    )
    | {"oneOf": [{"required": ["jobStatus"]}, {"required": ["jobDeploymentStatus"]}]},
)

JOB = _object(
    "entrypoint submitterPodTemplate activeDeadlineSeconds",
    activeDeadlineSeconds=SECONDS,
    preRunningDeadlineSeconds=SECONDS,
    backoffLimit=COUNT,
    deletionStrategy=_object("deletionRules", deletionRules={"type": "array", "minItems": 1, "items": DELETION}),
    clusterSelector=_object("ray.io/cluster", **{"ray.io/cluster": TEXT}),
    entrypoint=TEXT,
    rayClusterSpec=CLUSTER,
    shutdownAfterJobFinishes={"type": "boolean"},
    submitterPodTemplate=POD,
    ttlSecondsAfterFinished=COUNT,
) | {
    # either a cluster of its own, or an existing one, for which KubeRay neither repeats the job nor deletes the cluster
    # (these are rules of its operator, not of the CRD)
    "oneOf": [
        # rules of deletion and `shutdownAfterJobFinishes` exclude each other
        {
            "required": ["rayClusterSpec", "deletionStrategy"],
            "properties": {"shutdownAfterJobFinishes": False, "ttlSecondsAfterFinished": False},
        },
        {
            "required": ["clusterSelector"],
            "properties": dict.fromkeys(
                ("backoffLimit", "deletionStrategy", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"), False
            ),
        },
    ]
}

NAMED = _object(
    "namespace",
    name={"type": "string", "maxLength": 36},
    generateName={"type": "string"},
    namespace=TEXT,
    labels=TEXTS,
    annotations=TEXTS,
) | {"oneOf": [{"required": ["name"]}, {"required": ["generateName"]}]}


def _kind(name: str, spec: Schema) -> Schema:
    return _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": name},
        metadata=NAMED,
        spec=spec,
    )


KINDS = {
    "RayCluster": _kind("RayCluster", CLUSTER),
    "RayJob": _kind("RayJob", JOB),
    "RayCronJob": _kind(
        "RayCronJob", _object("schedule timeZone jobTemplate", schedule=TEXT, timeZone=TEXT, jobTemplate=JOB)
    ),
}


def real(folder: Path) -> dict[str, Schema]:
    """Return the schemas of the CRDs in a folder, with unknown fields forbidden, which the API server would prune."""
    found = {}
    for path in sorted(folder.glob("ray.io_*.yaml")):
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)
        (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
        found[definition["spec"]["names"]["kind"]] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(each) for name, each in schema.items()}
    if strict.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        # each value is a schema, even if its name is a keyword of JSON schema
        strict["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict["additionalProperties"] = False
    return strict
