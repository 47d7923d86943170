"""Who a frame is of, as a salted hash: one patient, one hash, and no way back without the salt."""

import hashlib
import hmac
import logging
import os
from pathlib import Path

from tte_tee.errors import UserError

_BYTES = 32
_LENGTH = 16  # hexadecimal digits of a hash


def salted_hash(salt: bytes, kind: str, value: str) -> str:
    """HMAC-SHA256 of ``value``, its first 16 hexadecimal digits; ``kind`` keeps patients apart from studies."""
    return hmac.new(salt, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:_LENGTH]


def load_salt(path: Path) -> bytes:
    """Reads the salt; where there is none yet, draws one that its owner alone can read, and says so.

    Raises:
        UserError: the file cannot be read or made, or is too short to be a secret.
    """
    try:
        if not path.exists():
            _draw_salt(path)
        salt = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the salt cannot be read or made ({error.strerror or error}); see 'salt'") from error
    if len(salt) < _BYTES:
        raise UserError(f"{path}: a salt has {_BYTES} bytes or more, this has {len(salt)}; restore it, or delete it")
    return salt


def _draw_salt(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(_BYTES))
    logging.getLogger(__name__).warning(
        "%s: made a new salt for the hashes of patients; keep it secret, and never beside a store that you pass on",
        path,
    )
