"""Requests: context, deadline, body, security headers, errors."""
