"""ETag, If-None-Match and If-Match (RFC 9110, section 13), based on the version column of each resource.

If-Match compares strongly: a weak tag never matches. A proxy that compresses answers may make tags weak.
"""

import re

from rest_framework.request import Request

from platform_core.http.errors import PreconditionFailed

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAGS = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
_VERSION = re.compile('"[1-9][0-9]{0,17}"', re.ASCII)


def etag(version: object) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def is_unchanged(request: Request, tag: str) -> bool:
    """Whether If-None-Match contains ``tag``, so that the answer is 304. Uses the weak comparison."""
    header = request.META.get("HTTP_IF_NONE_MATCH", "").strip()
    return header == "*" or tag in [found.removeprefix("W/") for found in _tags(header)]


def expected_versions(request: Request) -> list[int] | None:
    """The versions that a write to an existing resource may change.

    They are those of If-Match: None means any, an empty list means none, and weak tags never match. Raises
    PreconditionFailed for ``If-None-Match: *``, which allows only to create.
    """
    if creates_only(request):
        raise AlreadyExists()
    tags = expected_tags(request)
    return None if tags is None else [int(tag.strip('"')) for tag in tags if _VERSION.fullmatch(tag)]


def creates_only(request: Request) -> bool:
    """Whether If-None-Match allows the write only if the resource does not exist."""
    return str(request.META.get("HTTP_IF_NONE_MATCH", "")).strip() == "*"


class AlreadyExists(PreconditionFailed):
    """412: the resource exists, and ``If-None-Match: *`` allows only to create it."""

    detail = "The resource exists already, and If-None-Match allows the write only if it does not."


def expected_tags(request: Request) -> list[str] | None:
    """The tags that If-Match allows, as `expected_versions` does, for resources without a version."""
    header = request.META.get("HTTP_IF_MATCH")
    if header is None or header.strip() == "*":
        return None
    return [tag for tag in _tags(header) if not tag.startswith("W/")]


def _tags(header: str) -> list[str]:
    """The tags of a header; an empty list if the header is malformed."""
    return _TAG.findall(header) if _TAGS.fullmatch(header) else []
