"""Errors of S3: which of them pass, which show that a server answered, and what to tell the user about the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from detector.errors import ConfigError
from jobs.errors import StorageError
from jobs.storage.objects import NotFoundError, RefusedError
from jobs.storage.retry_budget import CorruptReplyError


class SlowError(Exception):
    """A body that is transferred too slowly: another connection may do better."""


class RedirectedError(Exception):
    """The store redirects the request to another host."""


CONNECTION_ERRORS = (
    boto.ConnectionError,  # refused, unresolvable
    boto.HTTPClientError,  # reset, timed out
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
    CorruptReplyError,
    SlowError,
)
"""Errors after which the same request is sent again."""

ANSWERED_ERRORS = (
    boto.ReadTimeoutError,
    boto.ConnectionClosedError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,
    aiohttp.ClientPayloadError,
    CorruptReplyError,
    SlowError,
)
"""The connection errors that show that there is a server at the address."""

PASSING_STATUS = {409, 429, 500, 502, 503, 504}
PASSING_CODES = {
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded"),
    *("ConditionalRequestConflict", "OperationAborted"),
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidDigest"),  # changed on the way
}
THROTTLING_STATUS = {429, 503}
THROTTLING_CODES = {"SlowDown", "Throttling", "RequestLimitExceeded", "ServiceUnavailable"}
EXPIRED_CODES = {
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestExpired",
    "400",  # a reply to HEAD has no body, so its status is all we get
}


@contextlib.contextmanager
def setting_errors(uri: str) -> Iterator[None]:
    """Raise errors that no retry can mend as those that say which setting to change."""
    try:
        yield
    except RedirectedError as error:
        raise StorageError(
            f"{uri}: the store sends us to {error}; we follow to no other place. "
            "Set AWS_ENDPOINT_URL, or AWS_DEFAULT_REGION, to where the bucket is."
        ) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise StorageError(f"{uri}: no credentials ({error}). Set AWS_ACCESS_KEY_ID or a role.") from error
    except boto.ParamValidationError as error:
        raise ConfigError(f"{uri}: not a valid name: {str(error).splitlines()[-1][:200]}") from error
    except CONNECTION_ERRORS:
        raise
    except boto.BotoCoreError as error:
        raise ConfigError(f"{uri}: {error}. Check the settings of AWS.") from error


def raise_unless_passing(uri: str, error: boto.ClientError) -> None:
    """Raise if the same request would get the same answer again."""
    if status_of(error) == 404:
        raise NotFoundError(f"{uri}: not found ({cause_of(error)}). Check the bucket and the spelling.") from error
    if is_denied(error):
        raise RefusedError(f"{uri}: permission denied ({cause_of(error)}). Check credentials and policy.") from error
    if status_of(error) not in PASSING_STATUS and _code_of(error) not in PASSING_CODES:
        raise RefusedError(f"{uri}: the store refuses: {cause_of(error)}.") from error


def is_unreadable(error: Exception) -> bool:
    """Return True if a server answers in what is no HTTP, or with headers of many megabytes."""
    below = error.kwargs.get("error") if isinstance(error, boto.HTTPClientError) else None
    return isinstance(below, aiohttp.ClientResponseError)


def is_throttling(error: boto.ClientError) -> bool:
    """Return True if the store refuses a request only for the rate of requests."""
    return status_of(error) in THROTTLING_STATUS or _code_of(error) in THROTTLING_CODES


def is_denied(error: boto.ClientError) -> bool:
    """Return True if the store does not accept the credentials."""
    return status_of(error) in (401, 403) or _code_of(error) in EXPIRED_CODES


def status_of(error: boto.ClientError) -> int:
    """Return the HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code_of(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def cause_of(error: Exception) -> str:
    """Return an error as a phrase for messages."""
    if isinstance(error, boto.ClientError):
        status, code = status_of(error), _code_of(error)
        message = error.response.get("Error", {}).get("Message", "").strip().rstrip(".")
        return f"{status} {message}" if code.isdigit() else f"{status} {code}: {message}"
    return str(error).strip().rstrip(".") or type(error).__name__
