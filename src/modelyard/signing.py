"""Signatures of a folder of files by a key of one's own, in OpenSSF's model-signing form; no call goes out.

A key is of an elliptic curve in PEM: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, its
public part `openssl ec -in key.pem -pubout`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .errors import ProjectError, SourceError, need
from .records.shapes import Record
from .records.yard import Yard

EXTRA = "sign"
STEP = "release.sign"
FILE = "release.sig"  # of that step's record


def signatures(yard: Yard, release: str) -> list[Record]:
    """The signatures of a release, newest first."""
    return [one for one in yard.find(step=STEP) if release in one.inputs.get("release", ())]


def sign(folder: Path, key: Path, signature: Path, password: str | None = None) -> None:
    """Sign every file below `folder` with the private key in `key`, into the file `signature`.

    Raises SourceError for what is no private key of an elliptic curve, or one with another password.
    """
    signing = need("model_signing.signing", extra=EXTRA, for_="signing a release")
    secret = None if password is None else password.encode()  # 1.1 hands it on, and bytes are wanted
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key, password=secret)
    except (ValueError, TypeError, OSError) as error:
        raise SourceError(
            f"the key cannot be used: {_line(error)}",
            where=str(key),
            try_="a private key of an elliptic curve in PEM, and its password",
        ) from None
    config.sign(folder, signature)


def verify(folder: Path, signature: Path, public_key: str) -> str:
    """Why the files below `folder` are not those that the holder of the key signed; "" when they are.

    Raises ProjectError for a public key that cannot be read.
    """
    verifying = need("model_signing.verifying", extra=EXTRA, for_="checking a release's signature")
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as key:
        key.write(public_key)
        key.flush()
        try:
            config = verifying.Config().use_elliptic_key_verifier(public_key=key.name)
        except (ValueError, TypeError) as error:
            raise ProjectError(
                f"serve.signed_by is no public key: {_line(error)}",
                try_="the PEM that `openssl ec -in key.pem -pubout` prints",
            ) from None
        try:
            config.verify(folder, signature)
        except Exception as error:  # noqa: BLE001  whatever fails, the folder is not proved to be the signed one
            return _line(error) or type(error).__name__
    return ""


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
