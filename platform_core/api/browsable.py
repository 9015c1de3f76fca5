"""The browsable API: DRF's pages, with forms that show the current values, or the ones that were refused."""

import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, resolve
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from rest_framework import renderers, serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request, override_method

from platform_core.api.fields import StringField
from platform_core.api.id_links import id_links, with_id_links
from platform_core.api.json import IndentedJSONRenderer, decode, encode
from platform_core.api.pages import PageQuery
from platform_core.api.queries import AnyOf
from platform_core.auth.access import bare, may
from platform_core.http.middleware import readable
from platform_core.http.problems import CONTENT_TYPE

_ids = count(1)
_WRITING = ("POST", "PUT", "PATCH")


class FormRenderer(renderers.HTMLFormRenderer):
    """Labels fields with their JSON names. Leaves out lists (use the raw form) and never repeats a password."""

    def render_field(self, field: Any, parent_style: Mapping[str, Any]) -> str:
        """The HTML of a field; empty for a list."""
        own = field.parent.fields[field.field_name]
        if isinstance(own, serializers.ListSerializer):
            return ""
        if isinstance(own, StringField) and not own.one_line:
            own.style["base_template"] = "textarea.html"
        if isinstance(own, serializers.DateTimeField):
            own.style["input_type"] = "text"
        if own.style.get("input_type") == "password":
            field.value = ""
        own.label = own.field_name
        own.help_text = _marked(own.help_text or "")
        return _labelled(str(super().render_field(field, parent_style)))


def _labelled(field: str) -> SafeString:
    """Connects the label of DRF's field with its input, by an id that no other field of the page has."""
    name = f"field-{next(_ids)}"
    labelled = re.sub(r"<label(?=\s)", f'<label for="{name}"', field, count=1)
    with_id = re.sub(r'(<(?:input|select|textarea)\b[^>]*?\sname="[^"]*")', rf'\1 id="{name}"', labelled, count=1)
    return mark_safe(with_id)  # noqa: S308  # DRF's template, which escapes


def _named(page: Any) -> Any:
    """Says the language of DRF's page, and gives the fields of its raw forms ids of their own."""
    page = page.replace("<html>", '<html lang="en">', 1)
    for name in ("id__content_type", "id__content"):
        parts = page.split(f'"{name}"')
        page = parts[0] + "".join(f'"{name}-{(number - 1) // 2}"{part}' for number, part in enumerate(parts[1:], 1))
    return page


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """Adds to DRF's pages: links to the next page, a filter form, and buttons for actions without a body."""

    form_renderer_class = FormRenderer
    filter_template = "rest_framework/filter_form.html"

    def get_default_renderer(self, view: Any) -> renderers.BaseRenderer:
        """The renderer of the data that the page shows: indented JSON."""
        return IndentedJSONRenderer()

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The page; empty for a 304."""
        response = (renderer_context or {})["response"]
        if response.status_code == 304:
            return b""
        page = super().render(data, accepted_media_type, renderer_context)
        del response["ETag"]  # The ETag is that of the resource, not of the page around it.
        found = renderer_context or {}
        return with_id_links(_named(page), id_links(found["request"]), self.address_of_rows(found["view"]))

    def get_context(
        self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The variables of the template: DRF's, and those for the additions to its pages."""
        view, response = renderer_context["view"], renderer_context["response"]
        context = super().get_context(data, accepted_media_type, renderer_context)
        links = data if isinstance(data, dict) else {}
        headers = {**context["response_headers"], "Content-Type": self.content_type(view, response)}
        if "Location" in headers:
            headers["Location"] = format_html('<a href="{0}">{0}</a>', headers["Location"])
        buttons = self.buttons(view)
        possible = self.possible(buttons, view, data, renderer_context["request"])
        return {
            **context,
            "response_headers": headers,
            "filter_form": self.filter_form(data, view, renderer_context["request"]),
            "extra_actions": {n: url for n, url in (context["extra_actions"] or {}).items() if n not in buttons},
            "code_style": None,  # an inline style, not used here
            "service_name": settings.SERVICE_NAME,
            "next_page": links.get("next"),
            "previous_page": links.get("previous"),
            "buttons": possible if response.status_code < 400 or response.status_code in (405, 409) else {},
            "display_edit_forms": response.status_code not in (204, 403),
        }

    def content_type(self, view: Any, response: Any) -> str:
        """The content type that a client other than a browser would get."""
        if getattr(response, "problem", False):
            return CONTENT_TYPE
        return str(next(r.media_type for r in view.renderer_classes if not issubclass(r, BrowsableAPIRenderer)))

    def get_description(self, view: Any, status_code: int) -> SafeString:
        """The view's docstring as HTML."""
        return mark_safe(f"<p>{_marked(view.get_view_description())}</p>")  # noqa: S308  # escaped

    def buttons(self, view: Any) -> dict[str, str]:
        """The resource's actions that are a POST without a body, ``{name: url}``."""
        return {a.kwargs["name"]: view.reverse_action(a.url_name, kwargs=view.kwargs) for a in _bare_actions(view)}

    def possible(self, buttons: dict[str, str], view: Any, data: Any, request: Request) -> dict[str, str]:
        """The buttons that the caller may use, and for which the resource is in the right state."""
        actions = {a.kwargs["name"]: a.mapping["post"] for a in _bare_actions(view)}
        resource = decode(encode(data)) if buttons and isinstance(data, dict | msgspec.Struct) else {}
        return {
            name: url
            for name, url in buttons.items()
            if view.offers(actions[name], resource) and may(request, "POST", _route_of(url))
        }

    def address_of_rows(self, view: Any) -> str | None:
        """What comes before the id in the address of a listed resource; None if the view shows none."""
        basename = getattr(view, "basename", None)
        if getattr(view, "detail", None) is not False or not basename:
            return None
        try:
            return str(view.reverse_action("detail", args=["0"])).removesuffix("0")
        except NoReverseMatch:
            return None

    def filter_form(self, data: Any, view: Any, request: Request) -> str | None:
        """The HTML of a list's filter form; None for other views."""
        if not (isinstance(data, dict) and "results" in data and hasattr(view, "query_class")):
            return None
        fields = {"limit": PageQuery().fields["limit"], **view.query_class().fields}
        single = {n: deepcopy(f.child if isinstance(f, AnyOf) else f) for n, f in fields.items()}
        form = type("Filters", (serializers.Serializer,), single)()
        for name, field in form.fields.items():
            field.initial = request.query_params.get(name, "")
            field.required, field.allow_blank = False, True  # an empty field means that the filter is not used
        return render_to_string(self.filter_template, {"form": self.render_form_for_serializer(form)})

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """The HTML form for ``method``, with the values of `body`.

        None if requests with this method have no body, or need a list, which the form cannot edit.
        """
        if method not in _WRITING:
            return super().get_rendered_html_form(data, view, method, request)
        body = self.body(data, view, method, request)
        with override_method(view, request, method) as overridden:
            if not self.takes_a_body(view, method, overridden):
                return None
            serializer = view.get_serializer() if body is None else view.get_serializer(data=body)
        return None if _needs_a_list(serializer) else self.render_form_for_serializer(serializer)

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """The form for raw JSON, with the values of `body`, or with an example for a new resource."""
        body = self.body(data, view, method, request)
        with override_method(view, request, method) as overridden:
            if not self.takes_a_body(view, method, overridden):
                return None
            is_new = method == "POST" or view.response.status_code == 404
            text = _text_of(view.get_serializer(), body, with_example=is_new)
        form = super().get_raw_data_form(data, view, method, request)
        if form is not None:
            form.initial["_content"] = text
        return form

    def takes_a_body(self, view: Any, method: str, request: Request) -> bool:
        """Whether a request with this method has a body."""
        shown = self.show_form_for_method(view, method, request, None) and hasattr(view, "get_serializer")
        return bool(shown and view.get_serializer_class() is not None)

    def body(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """The initial values of a form: the refused body or the present resource; None for a new resource."""
        if not getattr(view.response, "problem", False):
            return decode(encode(data)) if method != "POST" and isinstance(data, dict | msgspec.Struct) else None
        with suppress(APIException):
            same = request.method == method or {request.method, method} == {"PUT", "PATCH"}
            return (request.data or None) if same and isinstance(request.data, dict) else None
        return None


def _bare_actions(view: Any) -> list[Any]:
    """A resource's actions that are a POST without a body."""
    if getattr(view, "detail", None) is not True:
        return []
    return [a for a in view.get_extra_actions() if a.detail and _is_bare(a.kwargs) and "post" in a.mapping]


def _route_of(url: str) -> str:
    """The route of an address of this service, as access rules write it."""
    return bare(readable(resolve(urlsplit(url).path).route))


def _marked(text: str) -> SafeString:
    """A docstring as HTML, with code and paragraphs."""
    marked = re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
    return mark_safe(marked.replace("\n\n", "</p><p>"))  # noqa: S308  # escaped


def _text_of(serializer: Any, body: Any, *, with_example: bool) -> str:
    """The writable members of ``body`` as JSON; without a body an example, if ``with_example``."""
    if body is not None:
        content = _writable(serializer, body)
    elif with_example and hasattr(serializer, "request_examples"):
        content = next(iter(serializer.request_examples.values()))
    else:
        return ""
    return msgspec.json.format(encode(content), indent=2).decode()


def _writable(serializer: Any, body: Any) -> Any:
    if isinstance(serializer, serializers.ListSerializer) and isinstance(body, list):
        return [_writable(serializer.child, each) for each in body]
    if isinstance(serializer, serializers.Serializer) and isinstance(body, dict):
        fields = serializer.fields.items()
        return {name: _writable(field, body[name]) for name, field in fields if name in body and not field.read_only}
    return body


def _is_bare(kwargs: dict[str, Any]) -> bool:
    return "serializer_class" in kwargs and kwargs["serializer_class"] is None


def _needs_a_list(serializer: Any) -> bool:
    return any(isinstance(f, serializers.ListSerializer) and f.required for f in serializer.fields.values())
