"""Filters for the pages of jobs."""

from django import template

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """A whole number with commas between its thousands."""
    return f"{number:,}"
