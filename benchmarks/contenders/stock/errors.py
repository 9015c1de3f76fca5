"""Refusals with a code."""

from rest_framework.exceptions import APIException


class Refusal(APIException):
    """The body is ``{"code", "detail", …}``."""

    def __init__(self, code, detail, **more):
        self.detail = {"code": code, "detail": detail, **more}


class Conflict(Refusal):
    status_code = 409


class Unprocessable(Refusal):
    status_code = 422


class Unavailable(Refusal):
    status_code = 503
    wait = 1  # DRF makes a Retry-After of it
