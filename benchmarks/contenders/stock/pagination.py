"""Numbered pages, with their COUNT."""

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200
