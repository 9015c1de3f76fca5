"""Parses and renders JSON with msgspec. Money stays exact; times end in Z."""

from decimal import Decimal
from typing import Any

import msgspec
from rest_framework import renderers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, FormParser, MultiPartParser

from platform_core.api.strict_bodies import judge_repeated
from platform_core.http.errors import TooLarge
from platform_core.http.problems import CONTENT_TYPE
from platform_core.http.request_body import MAX_BODY_BYTES

decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JSONParser(BaseParser):
    """Parses strict JSON (RFC 8259): no NaN, Infinity, lone surrogates, or two members with one name.

    Refuses nesting that is too deep. A byte order mark before the text is ignored.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The decoded body; numbers with a fraction are Decimals. Raises TooLarge, ParseError, InvalidInput."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge()
        body = body.removeprefix(_BYTE_ORDER_MARK)
        try:
            data = decode(body)
        except (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None
        judge_repeated(body, data, parser_context or {})
        return data


class MergePatchParser(JSONParser):
    """JSON merge patches (RFC 7396), for PATCH. Members that are left out stay as they are."""

    media_type = "application/merge-patch+json"


class JSONRenderer(renderers.BaseRenderer):
    """Renders data as JSON. ``msgspec.Raw`` is inserted unchanged."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "text"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        response = (renderer_context or {}).get("response")
        if response is not None and getattr(response, "problem", False):
            response["Content-Type"] = CONTENT_TYPE  # replaces the renderer's content type, which DRF has set
        return encode(data)


class IndentedJSONRenderer(JSONRenderer):
    """Indented JSON, for the browsable API."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else msgspec.json.format(encode(data), indent=2)


FORM_PARSERS = (FormParser, MultiPartParser)
