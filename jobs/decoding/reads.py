"""Reads: what a decoder asks of a viewed file, checked and limited.

Each read costs the worker far more than the decoder, which has no store and no archive to read from. A recording whose
parts are stored in a wild order can ask for a block of 1 MiB for every sample of it.
"""

from __future__ import annotations

from jobs.decoding.content import HashedContent
from jobs.decoding.faults import DecoderError, check
from jobs.decoding.wire import READ, READ_BYTES

MAX_PASSES = 64  # over a file: players that take sound and picture from two places of a film need many
FREE_READS = 64


class Reads:
    """Answers the reads of one decoder over one recording.

    Parameters
    ----------
    content : HashedContent

    Examples
    --------
    >>> import io
    >>> reads = Reads(HashedContent(io.BytesIO(b"0123456789"), "a.wav"))
    >>> reads.answer(READ.pack(3, 4))
    b'3456'
    """

    def __init__(self, content: HashedContent) -> None:
        self._content = content
        # a read counts as a block whatever its length: a store is asked once for each
        self._n_left = FREE_READS + MAX_PASSES * -(-content.size // READ_BYTES)

    def answer(self, request: bytes | bytearray) -> bytes:
        """Return the bytes that a `read` asks for.

        Raises
        ------
        DecoderError
            If it is no request for bytes of the file, or one too many.
        """
        check(len(request) == READ.size, f"a read of {len(request)} B")
        offset, n_bytes = READ.unpack(request)
        check(n_bytes > 0, "a read of nothing")
        self._n_left -= 1
        if self._n_left < 0:
            raise DecoderError(
                "decoder_timeout",
                f"more reads than {MAX_PASSES} passes over the file take: its parts are stored in a wild order; "
                "write it anew, its sound from front to back",
            )
        return self._content.read(offset, n_bytes)
