"""Checks of times: one night at a time, each with an end."""

from __future__ import annotations

from collections.abc import Iterator

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
            if job.get("shutdownAfterJobFinishes") is not True:
                yield f"{name_of(document)}: its machines stay"
        if document["kind"] in ("CronJob", "RayCronJob") and spec.get("timeZone") != "Etc/UTC":
            yield f"{name_of(document)}: days are UTC's"
