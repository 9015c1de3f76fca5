"""Links from the ids in the answers to the resources that they name, for the pages of the API."""

import re
from collections.abc import Mapping
from typing import Any

from django.utils.html import format_html

from platform_core.clients.resources import RESOURCES
from platform_core.http.links import link

_ANSWER = re.compile(r'(<div class="response-info".*?<pre[^>]*>)(.*?)(</pre>)', re.DOTALL)
_MEMBER = re.compile(
    r"^(?P<before>(?P<indent> +)&quot;(?P<name>\w+)&quot;: &quot;)(?P<id>[0-9]{1,19})(?=&quot;,?$)", re.MULTILINE
)


def id_links(request: Any) -> dict[str, str]:
    """What comes before the id in the address of a resource, by the member's name."""
    return {name: link(service, path, request) for name, (service, path) in RESOURCES.items()}


def with_id_links(page: str, links: Mapping[str, str], own: str | None) -> str:
    """Link the ids in the answer that a page of the browsable API shows.

    ``own`` is the address before the ids of the listed resources themselves, if the page shows a list.
    """

    def linked(found: re.Match[str]) -> str:
        name = found["name"]
        is_row = name == "id" and len(found["indent"]) == _INDENT_OF_ROWS
        prefix = own if is_row else links.get(name)
        if not prefix:
            return found[0]
        return found["before"] + format_html('<a href="{}{}">{}</a>', prefix, found["id"], found["id"])

    return _ANSWER.sub(lambda found: found[1] + _MEMBER.sub(linked, found[2]) + found[3], page, count=1)


_INDENT_OF_ROWS = 3 * 2
"""Members of the rows in ``{"results": [{…}]}``, with two spaces for each level."""
