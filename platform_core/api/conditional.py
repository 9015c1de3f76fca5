"""ETag, If-None-Match and If-Match (RFC 9110, section 13), on the version column that every resource has."""

import re

from rest_framework.request import Request

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: object) -> str:
    """A strong tag: every change of the row raises its version."""
    return f'"{version}"'


def is_unchanged(request: Request, tag: str) -> bool:
    """Whether If-None-Match names the present state, compared weakly, so that a 304 will do."""
    header = request.headers.get("If-None-Match", "")
    return header.strip() == "*" or any(f'"{value}"' == tag for _, value in _TAG.findall(header))


def expected_versions(request: Request) -> list[int] | None:
    """The versions that If-Match allows: None when any will do, empty when none will. Weak tags never match."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return [int(value) for weak, value in _TAG.findall(header) if not weak and re.fullmatch("[0-9]{1,18}", value)]
