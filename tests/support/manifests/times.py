"""Checks of times: one night at a time, each with an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.manifests.documents import Document, job_of, name_of

DAY = 86_400


def times(documents: list[Document]) -> Iterator[str]:
    """Nights run one at a time, each with a deadline, and are retried."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            job = spec["jobTemplate"]["spec"]
            if spec.get("concurrencyPolicy") != "Forbid":
                yield f"{name_of(document)}: two at once"
            if not 0 < job.get("activeDeadlineSeconds", 0) < DAY or job.get("backoffLimit", 0) < 1:
                yield f"{name_of(document)}: no end, or no second try"
            policy = job.get("podFailurePolicy", {}).get("rules", [])
            codes = [each["onExitCodes"] for each in policy if "onExitCodes" in each]
            if any(each["operator"] != "NotIn" or set(each["values"]) != {69, 75} for each in codes):
                yield f"{name_of(document)}: {codes}; expected all but 69 and 75 to end it"
        if document["kind"] == "RayCronJob":
            job = job_of(document)
            attempts = job.get("backoffLimit", 0) + 1
            if attempts < 2 or attempts * job["activeDeadlineSeconds"] >= DAY:
                yield f"{name_of(document)}: {attempts} attempts of {job['activeDeadlineSeconds']} s"
            yield from (f"{name_of(document)}: {problem}" for problem in _deletion_problems(job))
        if document["kind"] in ("CronJob", "RayCronJob") and spec.get("timeZone") != "Etc/UTC":
            yield f"{name_of(document)}: days are UTC's"


def _deletion_problems(job: dict[str, Any]) -> Iterator[str]:
    """A good night's machines go within minutes; a failed one's stay for hours, for their logs, and not for ever."""
    conditions = [rule["condition"] for rule in job.get("deletionStrategy", {}).get("deletionRules", [])]
    seconds = {each.get("jobStatus") or each.get("jobDeploymentStatus"): each["ttlSeconds"] for each in conditions}
    if seconds.get("SUCCEEDED", DAY) > 600:
        yield "its machines stay"
    # the last is for a job that was never submitted, or ran into its deadline
    if not all(2 * 3600 <= seconds.get(each, 0) <= DAY / 2 for each in ("FAILED", "Failed")):
        yield "the logs of a failed night do not stay for hours"
