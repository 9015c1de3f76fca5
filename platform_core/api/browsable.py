"""The API in a browser: DRF's pages, with forms that are filled with what is there, or with what was sent and refused."""

import re
from contextlib import suppress
from typing import Any

import msgspec
from django.conf import settings
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from drf_spectacular.drainage import get_override
from rest_framework import renderers, serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request, override_method
from rest_framework.utils.formatting import dedent

from platform_core.api.fields import StringField
from platform_core.api.json import FORM_PARSERS, IndentedJSONRenderer, encode
from platform_core.api.problems import CONTENT_TYPE
from platform_core.api.queries import PageQuery, Query

Serializer = serializers.BaseSerializer[Any]

_WRITING = ("POST", "PUT", "PATCH")


class FormRenderer(renderers.HTMLFormRenderer):
    """Fields under their names on the wire. Lists want the raw form, and a password is not shown again."""

    def render_field(self, field: Any, parent_style: dict[str, Any]) -> str:
        if isinstance(field._field, serializers.ListSerializer):
            return ""
        if isinstance(field._field, StringField) and not field.one_line:
            field.style["base_template"] = "textarea.html"
        if field.style.get("input_type") == "password":
            field.value = ""
        field._field.label = field.field_name
        return str(super().render_field(field, parent_style))


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """Adds to DRF's pages: links to the next page, a filter form, and buttons for what needs no body."""

    form_renderer_class = FormRenderer

    def get_default_renderer(self, view: Any) -> renderers.BaseRenderer:
        return IndentedJSONRenderer()

    def get_context(
        self, data: Any, accepted_media_type: str | None, renderer_context: dict[str, Any]
    ) -> dict[str, Any]:
        view, response = renderer_context["view"], renderer_context["response"]
        context = super().get_context(data, accepted_media_type, renderer_context)
        links = data if isinstance(data, dict) else {}
        headers = {**context["response_headers"], "Content-Type": self.content_type(view, response)}
        if "Location" in headers:
            headers["Location"] = format_html('<a href="{0}">{0}</a>', headers["Location"])
        return {
            **context,
            "response_headers": headers,
            "service_name": settings.SERVICE_NAME,
            "next_page": links.get("next"),
            "previous_page": links.get("previous"),
            "buttons": self.buttons(view),
        }

    def content_type(self, view: Any, response: Any) -> str:
        """What a client that is not a browser would have got."""
        if getattr(response, "problem", False):
            return CONTENT_TYPE
        return str(next(r.media_type for r in view.renderer_classes if not issubclass(r, BrowsableAPIRenderer)))

    def get_description(self, view: Any, status_code: int) -> SafeString:
        paragraphs = escape(dedent(view.get_view_description())).split("\n\n")
        return mark_safe("".join(f"<p>{re.sub('`([^`]+)`', r'<code>\1</code>', text)}</p>" for text in paragraphs))  # noqa: S308

    def get_extra_actions(self, view: Any, status_code: int) -> dict[str, str] | None:
        buttons = self.buttons(view)
        found = super().get_extra_actions(view, status_code) or {}
        return {name: url for name, url in found.items() if name not in buttons}

    def buttons(self, view: Any) -> dict[str, str]:
        """Actions on this resource that are a POST without a body, ``{name: url}``."""
        if getattr(view, "detail", None) is not True:
            return {}
        bare = [a.kwargs["name"] for a in view.get_extra_actions() if _is_bare(a.kwargs) and "post" in a.mapping]
        return {name: url for name, url in view.get_extra_action_url_map().items() if name in bare}

    def get_filter_form(self, data: Any, view: Any, request: Request) -> str | None:
        if not (isinstance(data, dict) and "results" in data and hasattr(view, "query_class")):
            return None
        query_class: type[Query] = view.query_class if view.action == "list" else PageQuery
        query = query_class(data=request.query_params.dict())
        for field in query.fields.values():
            field.allow_blank = True  # type: ignore[attr-defined]  # the form's word for "left out"
        return str(self.render_form_for_serializer(query))

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        if method not in _WRITING:
            return super().get_rendered_html_form(data, view, method, request)
        serializer = self.form(data, view, method, request)
        if serializer is None or _needs_a_list(serializer):
            return None
        return self.render_form_for_serializer(serializer)

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        form = super().get_raw_data_form(data, view, method, request)
        serializer = self.form(data, view, method, request)
        if form and serializer is not None:
            form.initial["_content"] = self.raw_content(serializer, request)
        return form

    def raw_content(self, serializer: Serializer, request: Request) -> str:
        """What was sent and refused, or the resource's writable part, or else an example."""
        if not hasattr(serializer, "initial_data"):
            examples = get_override(serializer, "examples", [])
            content = examples[0].value if examples else None
        elif serializer.is_valid():
            content = serializer.data
        else:
            content = serializer.initial_data
        return "" if content is None else msgspec.json.format(encode(content), indent=2).decode()

    def form(self, data: Any, view: Any, method: str, request: Request) -> Serializer | None:
        """The serializer of a body for ``method``; None when the method takes no body, or is not for this caller."""
        sent = self.sent(request, method)
        with override_method(view, request, method) as overridden:
            if not self.show_form_for_method(view, method, overridden, None) or not hasattr(view, "get_serializer"):
                return None
            if view.get_serializer_class() is None:
                return None
            response = self.renderer_context["response"]
            if getattr(response, "problem", False):
                return view.get_serializer(**({} if sent is None else {"data": sent}))
            if method == "POST" or not isinstance(data, dict):
                return view.get_serializer()
            return view.get_serializer(data=msgspec.json.decode(encode(data)))

    def sent(self, request: Request, method: str) -> Any:
        """The body that came, if it came for this form."""
        if request.method not in ((method,) if method == "POST" else ("PUT", "PATCH")):
            return None
        with suppress(APIException):
            return request.data
        return None


def _is_bare(kwargs: dict[str, Any]) -> bool:
    return "serializer_class" in kwargs and kwargs["serializer_class"] is None


def _needs_a_list(serializer: Any) -> bool:
    return any(isinstance(f, serializers.ListSerializer) and f.required for f in serializer.fields.values())


__all__ = ["FORM_PARSERS", "BrowsableAPIRenderer"]
