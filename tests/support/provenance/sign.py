"""Signs a tenth of a second of silence with C2PA manifests, by the reference implementation.

    python -m venv signing && signing/bin/pip install c2pa-python==0.38.1 cryptography soundfile av
    signing/bin/python tests/support/provenance/sign.py

It writes the recordings beside this file, and `read.json`: what the reference implementation reads in each. The chain
of certificates is made here and its keys are thrown away; no reader trusts it.
"""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "m4a": "audio/mp4"}
RATE = 8_000


def silence(kind: str) -> bytes:
    """A recording without a manifest."""
    import av
    import numpy as np
    import soundfile

    file = io.BytesIO()
    if kind == "m4a":
        with av.open(file, "w", format="ipod") as container:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE // 10), np.float32), "fltp", "mono")
            frame.sample_rate = RATE
            container.mux([*stream.encode(frame), *stream.encode(None)])
    else:
        soundfile.write(file, np.zeros(RATE // 10, np.int16), RATE, format=kind.upper())
    return file.getvalue()


def chain() -> tuple[bytes, bytes]:
    """A certificate for signing claims, the authority above it, and the key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def certificate(name: str, issuer: str, key: Any, by: Any, *, is_authority: bool) -> Any:
        subject, above = (
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
                    x509.NameAttribute(NameOID.COMMON_NAME, common),
                ]
            )
            for common in (name, issuer)
        )
        unused = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
        usage = dict.fromkeys(unused.split(), False)
        builder = (
            x509.CertificateBuilder(above, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(datetime.datetime(2026, 1, 1))
            .not_valid_after(datetime.datetime(2046, 1, 1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )
        if not is_authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(by, hashes.SHA256())

    authority, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificates = (
        certificate("Signer", "Authority", signer, authority, is_authority=False),
        certificate("Authority", "Authority", authority, authority, is_authority=True),
    )
    pem = b"".join(made.public_bytes(serialization.Encoding.PEM) for made in certificates)
    key = signer.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, key


def sign(recording: bytes, kind: str, generator: str, *, claim_version: int = 2, intent: str = "") -> bytes:
    """Embed a manifest. With an intent, EDIT or UPDATE, the manifests that are there stand in the store before it."""
    import c2pa

    certificates, key = chain()
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    created = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
    name, version = generator.split("/")
    manifest = {
        "claim_version": claim_version,
        "claim_generator_info": [{"name": name, "version": version}],
        "assertions": [] if intent else [{"label": "c2pa.actions", "data": created}],
    }
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", certificates, key, None))
    signed = io.BytesIO()
    builder = c2pa.Builder(manifest)
    if intent:
        builder.set_intent(c2pa.C2paBuilderIntent[intent])
    builder.sign(signer, MEDIA_TYPES[kind], io.BytesIO(recording), signed)
    return signed.getvalue()


def read(recording: bytes, kind: str) -> dict[str, Any]:
    """What the reference implementation reads: the claim generator of the active manifest, and all manifests' names."""
    import c2pa

    report = json.loads(c2pa.Reader(MEDIA_TYPES[kind], io.BytesIO(recording)).json())
    manifests = report["manifests"]
    info = manifests[report["active_manifest"]]["claim_generator_info"][0]
    return {"claim_generator": f"{info['name']}/{info['version']}", "n_manifests": len(manifests)}


if __name__ == "__main__":
    made = {f"made.{kind}": sign(silence(kind), kind, "Voice Maker/3.1") for kind in MEDIA_TYPES}
    made["version_1.wav"] = sign(silence("wav"), "wav", "Voice Maker/1.0", claim_version=1)
    made["edited.wav"] = sign(made["made.wav"], "wav", "Editor/0.9", intent="EDIT")
    made["updated.m4a"] = sign(made["made.m4a"], "m4a", "Editor/0.9", intent="UPDATE")
    for name, recording in made.items():
        (HERE / name).write_bytes(recording)
    facts = {name: read(recording, name.rpartition(".")[2]) for name, recording in made.items()}
    (HERE / "read.json").write_text(json.dumps(facts, indent=2) + "\n")
