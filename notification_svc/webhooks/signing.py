"""Secrets and signatures of webhooks, as Standard Webhooks 1.0 defines them (https://www.standardwebhooks.com)."""

import base64
import hashlib
import hmac
import secrets

from platform_core.auth import seal, unseal

PREFIX = "whsec_"
SECRET_BYTES = 32
_PURPOSE = "webhook secrets"


def new_secret() -> str:
    """A new secret, as receivers get it: ``whsec_`` and the key in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sealed(secret: str) -> str:
    """The secret as the table keeps it: encrypted."""
    return seal(_PURPOSE, secret)


def unsealed(text: str) -> str:
    """The secret of `sealed`. Raises BrokenSeal after a change of SECRET_KEY."""
    return unseal(_PURPOSE, text)


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers with the id, the time (seconds since 1970) and the signature of one attempt."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
