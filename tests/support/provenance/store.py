"""C2PA manifest stores built by hand, and the places that containers have for them."""

from __future__ import annotations

import struct

import cbor2

TYPE_SUFFIX = bytes.fromhex("0011 0010 8000 00AA00389B71")


def box(name: bytes, *contents: bytes) -> bytes:
    """A box with its size in 32 bits."""
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), name) + content


def superbox(kind: bytes, label: bytes, *children: bytes) -> bytes:
    """A JUMBF superbox with its description."""
    return box(b"jumb", box(b"jumd", kind, TYPE_SUFFIX, b"\3", label, b"\0"), *children)


def manifest(claim: object, *, kind: bytes = b"c2ma", label: bytes = b"c2pa.claim.v2") -> bytes:
    """A manifest with a claim: fields, or the bytes that stand for them."""
    content = claim if isinstance(claim, bytes) else cbor2.dumps(claim)
    assertions = superbox(b"c2as", b"c2pa.assertions", superbox(b"json", b"x", box(b"json", b"{}")))
    signature = superbox(b"c2cs", b"c2pa.signature", box(b"cbor", b"\xf6"))
    return superbox(kind, b"urn:c2pa:1", assertions, superbox(b"c2cl", label, box(b"cbor", content)), signature)


def store(*manifests: bytes) -> bytes:
    """A manifest store."""
    return superbox(b"c2pa", b"c2pa", *manifests)


def generated_by(info: object) -> bytes:
    """A store of one manifest with this `claim_generator_info`."""
    return store(manifest({"claim_generator_info": info}))


NAMED = generated_by({"name": "Voice Maker", "version": "3.1"})
"""A store whose claim generator is `Voice Maker/3.1`."""


def chunk(name: bytes, content: bytes, order: str = "<", n_bytes: int | None = None) -> bytes:
    """A chunk of a RIFF file, with its size or a stated one."""
    size = struct.pack(f"{order}I", len(content) if n_bytes is None else n_bytes)
    return name + size + content + bytes(len(content) % 2)


def riff(*chunks: bytes, form: bytes = b"RIFF", order: str = "<") -> bytes:
    """A WAV of these chunks."""
    content = b"WAVE" + b"".join(chunks)
    return form + struct.pack(f"{order}I", len(content) if form in (b"RIFF", b"RIFX") else 0xFFFF_FFFF) + content


def synchsafe(number: int) -> bytes:
    """Four bytes of seven bits each."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def frame(name: bytes, content: bytes, *, version: int = 4, flags: bytes = b"\0\0") -> bytes:
    """A frame of an ID3v2 tag."""
    size = synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
    return name + size + flags + content


def encapsulated(content: bytes, *, media_type: bytes = b"application/c2pa", utf_16: bool = False) -> bytes:
    """The content of a frame GEOB, with a file name and a description."""
    texts = [(text.encode("utf-16") + b"\0\0") if utf_16 else text.encode() + b"\0" for text in ("c2pa", "Ābel")]
    return bytes([1 if utf_16 else 3]) + media_type + b"\0" + b"".join(texts) + content


def tag(*frames: bytes, version: int = 4, flags: int = 0, extension: bytes = b"") -> bytes:
    """An ID3v2 tag with some padding."""
    content = extension + b"".join(frames) + bytes(20)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(content)) + content


def provenance_box(content: bytes, purpose: bytes = b"manifest") -> bytes:
    """A box `uuid` of an MP4 that holds a store."""
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return box(b"uuid", uuid, bytes(4), purpose + b"\0", bytes(8), content, bytes(7))


def page(content: bytes, *, serial: int, flags: int = 0) -> bytes:
    """A page of an Ogg file with one packet, or a part of one if that fills 255 segments; without its checksum."""
    sizes = [255] * (len(content) // 255) + [len(content) % 255]
    sizes = sizes[:255]
    return b"OggS\0" + struct.pack("<BQIIIB", flags, 0, serial, 0, 0, len(sizes)) + bytes(sizes) + content
