"""How lists are described in the OpenAPI documents."""

from typing import Any

from rest_framework.pagination import BasePagination

Schema = dict[str, Any]


class Pages(BasePagination):
    """Describes the pages that `ResourceViewSet.page` makes; the parameters are the view's ``query_class``."""

    def get_paginated_response_schema(self, schema: Schema) -> Schema:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {
                "results": schema,
                "next": {**link, "description": "The page behind this one."},
                "previous": {**link, "description": "The page before this one."},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[Schema]:
        return []
