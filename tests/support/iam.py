"""A model of AWS' access rules, as far as the policies of `cluster/iam` use them.

    requests at the proxy ──asked──► questions: an action, a resource, a context ──allowed──► yes or no

Anything in a policy that this model does not know is refused, so that no part of it is ignored. The rules are those
of the service's user guide: a deny wins, then an allow, else no; `*` goes over `/`; a condition on what a request does
not say fails, but for `Null` and `…IfExists`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.support.proxy import Request

Statement = Mapping[str, Any]

TLS = "aws:SecureTransport"
KNOWN = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Question:
    """An action on a resource, with the conditions of the request."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


def asked(request: Request) -> list[Question]:
    """Return the permissions that a request to S3 needs: its action, and what else the service requires.

    The store of the tests is on loopback, without TLS; the context says what it is where the policies count.
    """
    bucket, _, key = request.path.removeprefix("/").partition("/")
    query = parse_qs(request.target.partition("?")[2], keep_blank_values=True)
    action = _action(request.method, key, query)
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        said = {f"s3:{name}": query[name][0] for name in ("prefix", "delimiter", "max-keys") if name in query}
        return [Question(action, arn, {TLS: "true"} | said)]
    arn += f"/{key}"
    said = {f"s3:{name}": request.headers[name] for name in ("if-match", "if-none-match") if name in request.headers}
    context = {TLS: "true"} | (said if action == "s3:PutObject" else {})
    questions = [Question(action, arn, context)]
    if action == "s3:PutObject" and "if-match" in request.headers:
        questions.append(Question("s3:GetObject", arn, {TLS: "true"}))  # a conditional PUT requires the right to read
    if action == "s3:GetObject" and request.applied == 404:
        # without the right to list, S3 answers 403 for a missing object
        questions.append(Question("s3:ListBucket", f"arn:aws:s3:::{bucket}", {TLS: "true"}))
    return questions


def _action(method: str, key: str, query: Mapping[str, Any]) -> str:
    match method, bool(key):
        case "GET", False:
            return "s3:ListBucketMultipartUploads" if "uploads" in query else "s3:ListBucket"
        case "HEAD", False:
            return "s3:ListBucket"
        case "GET" | "HEAD", True:
            return "s3:ListMultipartUploadParts" if "uploadId" in query else "s3:GetObject"
        case "PUT" | "POST", True:
            return "s3:PutObject"  # also for the start, the parts and the end of a multipart upload
        case "DELETE", True:
            return "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    raise ValueError(f"{method} with{'' if key else 'out'} key, {dict(query)}: not known here")


def allowed(policies: Sequence[Mapping[str, Any]], question: Question) -> bool:
    """Return True if policies that are attached together allow it."""
    says = {each["Effect"] for policy in policies for each in policy["Statement"] if applies(each, question)}
    return says == {"Allow"}


def applies(statement: Statement, question: Question) -> bool:
    """Return True if a statement applies to a question."""
    if set(statement) - KNOWN or not {"Effect", "Action", "Resource"} <= set(statement):
        raise ValueError(f"{sorted(statement)}: expected {sorted(KNOWN)}")
    return (
        any(_matches(each.lower(), question.action.lower()) for each in several(statement["Action"]))
        and any(_matches(each, question.resource) for each in several(statement["Resource"]))
        and all(
            _holds(operator, key, several(values), question.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _holds(operator: str, key: str, values: Sequence[str], context: Mapping[str, str]) -> bool:
    if operator == "Null":
        return any((key not in context) == (value == "true") for value in values)
    if operator.endswith("IfExists"):
        return key not in context or _holds(operator.removesuffix("IfExists"), key, values, context)
    if operator not in ("StringLike", "StringEquals", "Bool"):
        raise ValueError(f"{operator}: not known here")
    if key not in context:
        return False
    return any(_matches(each, context[key]) if operator == "StringLike" else each == context[key] for each in values)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def several(value: str | Sequence[str]) -> Sequence[str]:
    """Return a value or a list of values as a list."""
    return [value] if isinstance(value, str) else list(value)


def narrower(policy: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every policy that allows one thing less: an action on a resource, or a value of a condition.

    Yields
    ------
    str, dict
        What is missing, and the rest.
    """
    for number, statement in enumerate(policy["Statement"]):
        if statement["Effect"] != "Allow":
            continue
        before, after = policy["Statement"][:number], policy["Statement"][number + 1 :]
        pairs = [
            {"Action": a, "Resource": r} for a in several(statement["Action"]) for r in several(statement["Resource"])
        ]
        for pair in pairs:
            rest = [{**statement, **each} for each in pairs if each != pair]
            yield (
                f"{statement['Sid']} without {' on '.join(pair.values())}",
                {
                    **policy,
                    "Statement": [*before, *rest, *after],
                },
            )
        for operator, keys in statement.get("Condition", {}).items():
            for key, values in keys.items():
                for value in several(values):
                    kept = {**keys, key: [each for each in several(values) if each != value]}
                    less = {**statement, "Condition": {**statement["Condition"], operator: kept}}
                    yield f"{statement['Sid']} without {value}", {**policy, "Statement": [*before, less, *after]}
