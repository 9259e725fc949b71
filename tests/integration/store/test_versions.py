"""An output in a bucket that keeps versions: every verb works, and `docs/cluster.md` says how old versions end."""

from __future__ import annotations

import html
import json
import re
import uuid
from collections.abc import Callable
from io import BytesIO

import fsspec
import jmespath
import pyarrow.parquet as pq
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from fsspec.asyn import sync

from jobs import storage
from tests.support import ROOT, nightly_runs

Run = Callable[..., tuple[int, str, str]]
NAME = "s3://archive/2026/radio/0001.tar"
VICTIM = f"{storage.key_of(NAME)}#0001.flac"
LIFECYCLE = ROOT / "cluster" / "bucket" / "lifecycle.json"
PAGE = (ROOT / "docs" / "cluster.md").read_text()


@pytest.fixture
def versioned(s3_root: str, store: fsspec.AbstractFileSystem) -> str:
    """A bucket of its own that keeps versions and has our lifecycle."""
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    store.makedirs(bucket)
    lifecycle = json.loads(LIFECYCLE.read_text())
    store.call_s3("put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store.call_s3("put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=lifecycle)
    return bucket


def old_versions(store: fsspec.AbstractFileSystem, bucket: str) -> dict[str, list[dict[str, str]]]:
    """What the page's command lists."""
    (query,) = re.findall(r"--query '(.*)'", PAGE)
    found = jmespath.search(query, store.call_s3("list_object_versions", Bucket=bucket, Prefix="tables/"))
    return dict(found)


def mentioning(store: fsspec.AbstractFileSystem, bucket: str) -> set[str]:
    """First folders of the objects of which any version mentions the recording."""
    found = set()
    for each in store.call_s3("list_object_versions", Bucket=bucket)["Versions"]:
        body = store.call_s3("get_object", Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])["Body"]
        content = sync(store.loop, body.read)
        text = str(pq.read_table(BytesIO(content)).to_pydict()) if content.startswith(b"PAR1") else content.decode()
        if VICTIM in html.unescape(text):
            found.add(each["Key"].split("/")[1])
    return found


def test_old_versions_outlive_an_erasure_until_they_are_ended_as_the_page_says(
    versioned: str, store: fsspec.AbstractFileSystem, bonafide: Run
) -> None:
    output = f"s3://{versioned}/tables"
    vectors, _ = nightly_runs.drawn(6, seed=3)
    for state in ("first", "second"):
        nightly_runs.night(output, {NAME: nightly_runs.recordings(vectors, NAME)}, state=state)
    assert bonafide("gc", output, "--grace-hours", "0")[0] == 0

    assert bonafide("erase", VICTIM, "--output", output)[0] == 0
    left = mentioning(store, versioned)
    store.call_s3("delete_objects", Bucket=versioned, Delete=old_versions(store, versioned))

    assert left == {"embeddings", "scores", "runs"}
    assert mentioning(store, versioned) == set()
    assert old_versions(store, versioned)["Objects"] == []
    assert bonafide("verify", output)[0] == 0


def test_the_lifecycle_ends_old_versions_of_everything_and_nothing_that_stands() -> None:
    (rule,) = json.loads(LIFECYCLE.read_text())["Rules"]

    assert rule["Filter"] == {"Prefix": ""}
    assert rule["Status"] == "Enabled"
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert f"{rule['NoncurrentVersionExpiration']['NoncurrentDays']} days" in PAGE
    assert not {"Transitions", "NoncurrentVersionTransitions"} & set(rule)
    model = ServiceModel(Loader().load_service_model("s3", "service-2")).shape_for("BucketLifecycleConfiguration")
    assert ParamValidator().validate({"Rules": [rule]}, model).generate_report() == ""
