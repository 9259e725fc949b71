"""S3, by requests of our own: one attempt each, whose status we see, and retries that are ours.

s3fs finds credentials, endpoint and session. Its retries and botocore's are off, so this package alone decides which
requests the store gets.
"""

from jobs.storage.s3.store import S3

__all__ = ["S3"]
