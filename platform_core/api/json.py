"""Parses and renders JSON with msgspec. Money stays exact; times end in Z."""

from decimal import Decimal
from typing import Any

import msgspec
from rest_framework import renderers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, FormParser, MultiPartParser

from platform_core.http.errors import TooLarge
from platform_core.http.problems import CONTENT_TYPE
from platform_core.http.request_body import MAX_BODY_BYTES

decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


class JSONParser(BaseParser):
    """Parses strict JSON (RFC 8259): no NaN, Infinity or lone surrogates. Refuses nesting that is too deep."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The decoded body; numbers with a fraction are Decimals. Raises TooLarge, ParseError."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge()
        try:
            return decode(body)
        except (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None


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
