"""Commands that look across the five services."""
