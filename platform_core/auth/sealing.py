"""Encrypts texts that a table must not show, with keys that are derived from SECRET_KEY."""

import hashlib
import hmac
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


class BrokenSeal(ValueError):
    """The text was sealed for another purpose or with another SECRET_KEY, or it was changed."""


def seal(purpose: str, text: str) -> str:
    """Encrypt a text with the key for ``purpose`` (Fernet: AES-128-CBC with an HMAC). Only ASCII comes out."""
    return _fernet(purpose).encrypt(text.encode()).decode()


def unseal(purpose: str, sealed: str) -> str:
    """Decrypt what `seal` returned. Raises BrokenSeal."""
    try:
        return _fernet(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise BrokenSeal(f"cannot be decrypted with this SECRET_KEY ({purpose})") from None


def _fernet(purpose: str) -> Fernet:
    secret = hmac.new(settings.SECRET_KEY.encode(), purpose.encode(), hashlib.sha256).digest()
    return Fernet(urlsafe_b64encode(secret))
