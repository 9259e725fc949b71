"""Matroska, element by element (RFC 8794): what FFmpeg has written, with other elements in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

SEGMENT, INFO, TRACKS, TRACK, CLUSTER = (
    bytes.fromhex(each) for each in "18538067 1549a966 1654ae6b ae 1f43b675".split()
)
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = b"\xa3", b"\xa0", b"\xa1"
DURATION, CODEC_DELAY, DISCARD_PADDING = b"\x44\x89", b"\x56\xaa", b"\x75\xa2"
OF_POSITIONS = (bytes.fromhex("114d9b74"), bytes.fromhex("1c53bb6b"))  # SeekHead, Cues: of what no longer lies there

Change = Callable[[bytes, bytes], bytes]
"""Returns what stands in place of an element, of its name and its content."""


def element(name: bytes, content: bytes) -> bytes:
    return name + b"\x01" + len(content).to_bytes(7, "big") + content


def elements(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each element."""
    at = 0
    while at < len(content):
        n_name, n_size = (9 - content[at].bit_length(), 0)
        n_size = 9 - content[at + n_name].bit_length()
        size = int.from_bytes(content[at + n_name : at + n_name + n_size], "big") & (1 << 7 * n_size) - 1
        begin = at + n_name + n_size
        yield content[at : at + n_name], content[begin : begin + size]
        at = begin + size


def changed(content: bytes, *path: bytes, change: Change) -> bytes:
    """Change the elements in those that ``path`` names, one in the other."""
    if not path:
        return b"".join(change(*each) for each in elements(content) if each[0] not in OF_POSITIONS)
    return b"".join(
        element(name, changed(inner, *path[1:], change=change) if name == path[0] else inner)
        for name, inner in elements(content)
        if name not in OF_POSITIONS
    )
