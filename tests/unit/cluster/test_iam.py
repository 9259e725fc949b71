"""The access rules, as described in Amazon's user guide."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.iam import TLS, Question, allowed, asked, narrower
from tests.support.proxy import Request

GET = Question("s3:GetObject", "arn:aws:s3:::bucket/tables/scores/a.parquet", {TLS: "true"})


def policy(
    effect: str = "Allow", action: Any = "s3:GetObject", resource: Any = "*", **condition: Any
) -> dict[str, Any]:
    statement = {"Sid": "One", "Effect": effect, "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement | ({"Condition": condition} if condition else {})]}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], False),  # nothing said is no
        ([policy()], True),
        ([policy(action="s3:PutObject")], False),
        ([policy(action=["s3:PutObject", "s3:getobject"])], True),  # actions have no case
        ([policy(action="s3:Get*")], True),
        ([policy(action="*")], True),
        ([policy(resource="arn:aws:s3:::bucket/tables/*")], True),  # a star goes over slashes
        ([policy(resource="arn:aws:s3:::bucket/tables/scores/?.parquet")], True),
        ([policy(resource="arn:aws:s3:::bucket/tables/scores/??.parquet")], False),
        ([policy(resource="arn:aws:s3:::bucket/TABLES/*")], False),  # resources have
        ([policy(resource="arn:aws:s3:::bucket")], False),
        ([policy(resource="arn:aws:s3:::bucket/tables/scores")], False),
        ([policy(resource="arn:aws:s3:::bucket/tables/scores/a+parquet")], False),  # no other sign is one
        ([policy(), policy("Deny")], False),  # a no wins, in whatever order
        ([policy("Deny"), policy()], False),
        ([policy(), policy("Deny", action="s3:PutObject")], True),
        ([policy(Bool={TLS: "true"})], True),
        ([policy(Bool={TLS: "false"})], False),
        (
            [policy(Bool={TLS: "true"}, StringEquals={"s3:prefix": "x"})],
            False,
        ),  # all must hold; what is not said, does not
        ([policy(StringEqualsIfExists={"s3:prefix": "x"})], True),
        ([policy(Null={"s3:prefix": "true"})], True),
        ([policy(Null={"s3:prefix": "false"})], False),
        ([policy(Null={TLS: "true"})], False),
    ],
)
def test_a_deny_wins_then_an_allow_else_no(policies: list[dict[str, Any]], expected: bool) -> None:
    assert allowed(policies, GET) is expected


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [("a/*", "a/", True), ("a/*", "a/b/c", True), ("a/*", "a", False), ("a/*", "", False), ("*", "", True)],
)
def test_a_prefix_is_like_a_pattern(pattern: str, prefix: str, expected: bool) -> None:
    mine = policy(action="s3:ListBucket", StringLike={"s3:prefix": ["none", pattern]})

    assert allowed([mine], Question("s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": prefix})) is expected


@pytest.mark.parametrize("unknown", [{"NotAction": "s3:*"}, {"Principal": "*"}, {"NotResource": "*"}])
def test_what_is_not_known_is_refused(unknown: dict[str, str]) -> None:
    mine = policy()
    mine["Statement"][0] |= unknown

    with pytest.raises(ValueError, match=next(iter(unknown))):
        allowed([mine], GET)


def test_a_condition_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="IpAddress"):
        allowed([policy(IpAddress={"aws:SourceIp": "10.0.0.0/8"})], GET)


BUCKET, KEY = "arn:aws:s3:::b", "arn:aws:s3:::b/k/x"


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "expected"),
    [
        ("GET", "/b/k/x", {}, 200, [("GetObject", KEY)]),
        ("HEAD", "/b/k/x", {}, 200, [("GetObject", KEY)]),
        ("HEAD", "/b/k/x", {}, 404, [("GetObject", KEY), ("ListBucket", BUCKET)]),
        ("HEAD", "/b/k/x?partNumber=1", {}, 206, [("GetObject", KEY)]),
        ("PUT", "/b/k/x", {"if-none-match": "*"}, 200, [("PutObject", KEY)]),
        ("PUT", "/b/k/x", {"if-match": '"1"'}, 200, [("PutObject", KEY), ("GetObject", KEY)]),
        ("POST", "/b/k/x?uploads", {}, 200, [("PutObject", KEY)]),
        ("PUT", "/b/k/x?partNumber=1&uploadId=u", {}, 200, [("PutObject", KEY)]),
        ("POST", "/b/k/x?uploadId=u", {}, 200, [("PutObject", KEY)]),
        ("GET", "/b/k/x?uploadId=u", {}, 200, [("ListMultipartUploadParts", KEY)]),
        ("DELETE", "/b/k/x?uploadId=u", {}, 204, [("AbortMultipartUpload", KEY)]),
        ("DELETE", "/b/k/x", {}, 204, [("DeleteObject", KEY)]),
        ("GET", "/b?list-type=2&prefix=k/", {}, 200, [("ListBucket", BUCKET)]),
        ("GET", "/b/?list-type=2&prefix=", {}, 200, [("ListBucket", BUCKET)]),
        ("HEAD", "/b", {}, 200, [("ListBucket", BUCKET)]),
        ("GET", "/b?uploads&prefix=k/", {}, 200, [("ListBucketMultipartUploads", BUCKET)]),
    ],
)
def test_a_request_asks_for_its_action_and_what_goes_with_it(
    method: str, target: str, headers: dict[str, str], status: int, expected: list[tuple[str, str]]
) -> None:
    found = asked(Request(method, target, headers, b"", b"", applied=status))

    assert [(each.action.removeprefix("s3:"), each.resource) for each in found] == expected


def test_the_context_is_what_the_request_says() -> None:
    listing, put = (
        asked(Request(method, target, headers, b"", b""))[0]
        for method, target, headers in (
            ("GET", "/b?list-type=2&prefix=k/", {}),
            ("PUT", "/b/k", {"if-none-match": "*"}),
        )
    )

    assert listing.context == {TLS: "true", "s3:prefix": "k/"}
    assert put.context == {TLS: "true", "s3:if-none-match": "*"}


def test_a_request_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="PUT without key"):
        asked(Request("PUT", "/b", {}, b"", b""))


def test_a_policy_is_narrowed_by_one_thing_at_a_time() -> None:
    mine = policy(action=["a", "b"], resource=["x", "y"], StringLike={"k": ["1", "2"]})
    mine["Statement"].append({"Sid": "Two", "Effect": "Deny", "Action": "c", "Resource": "*"})

    found = dict(narrower(mine))

    pairs = [f"One without {action} on {resource}" for action in "ab" for resource in "xy"]
    assert list(found) == [*pairs, "One without 1", "One without 2"]
    assert found["One without 2"]["Statement"][0]["Condition"] == {"StringLike": {"k": ["1"]}}
    left = found["One without a on y"]["Statement"][:-1]
    assert [each["Action"] + each["Resource"] for each in left] == ["ax", "bx", "by"]
    assert all(each["Statement"][-1] == mine["Statement"][1] for each in found.values())
    assert mine["Statement"][0]["Action"] == ["a", "b"]
