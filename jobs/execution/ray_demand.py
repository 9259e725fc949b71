"""A demand: what a run asks a cluster's autoscaler for, and whether the autoscaler has said that it cannot bring it."""

from __future__ import annotations

import json
import re
from typing import Any

from jobs.execution.growth import Bundle

ANSWER_SECONDS = 5.0
# Ray invents such types for the machines of a cluster without an autoscaler: `node_` and the node's id
MACHINE_OF_NOBODY = re.compile(r"node_[0-9a-f]{56}")


class RayDemand:
    """Asks for machines inside the block.

    The demand is a placement group: it goes with the process that made it, however that ends. What
    `ray.autoscaler.sdk.request_resources` asks for stays, and keeps machines for nobody.

    Parameters
    ----------
    bundles : list of dict
        What each worker reserves.
    """

    def __init__(self, bundles: list[Bundle]) -> None:
        self._bundles = bundles
        self._group: Any = None

    def __enter__(self) -> RayDemand:
        import ray.util

        self._group = ray.util.placement_group(self._bundles, strategy="PACK")
        return self

    def __exit__(self, *error: object) -> None:
        import ray.util

        ray.util.remove_placement_group(self._group)

    def is_hopeless(self) -> bool:
        """Return True if the autoscaler says that it cannot bring what is asked for; its first version never does."""
        from ray.core.generated import autoscaler_pb2
        from ray.experimental import internal_kv

        client: Any = internal_kv.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
        reply: Any = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
        reply.ParseFromString(client.get_cluster_status(timeout_s=ANSWER_SECONDS))
        return bool(reply.autoscaling_state.infeasible_gang_resource_requests)


def monitor_report() -> dict[str, Any]:
    """Return what the monitor of the joined cluster last reported of its machines; nothing if it has not yet."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental import internal_kv

    report: dict[str, Any] = json.loads(internal_kv._internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
    return report


def is_without_autoscaler(status: dict[str, Any]) -> bool:
    """Return True if what Ray's monitor reports is of machines that were started by hand.

    Examples
    --------
    >>> is_without_autoscaler({"autoscaler_report": {"active_nodes": {"node_" + 28 * "0f": 1}}})
    True
    >>> is_without_autoscaler({"autoscaler_report": {"active_nodes": {"head": 1}}})
    False
    """
    report = status.get("autoscaler_report") or {}
    types = [*(report.get("active_nodes") or {}), *(report.get("idle_nodes") or {})]
    return bool(types) and all(map(MACHINE_OF_NOBODY.fullmatch, types))
