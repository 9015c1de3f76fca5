"""Errors as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

FieldError = dict[str, Any]


class Problem(Exception):
    """An error response. ``code`` is for programs, ``detail`` for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), headers


def not_found() -> Problem:
    return Problem(404, "not_found", "Not found.")


def unavailable(detail: str = "Not available at the moment.") -> Problem:
    return Problem(503, "unavailable", detail, headers={"Retry-After": "1"})


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    for error in (OperationalError, InterfaceError, PoolTimeout, OSError):
        app.add_exception_handler(error, _database_down)


def _response(problem: Problem) -> JSONResponse:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return JSONResponse(body, problem.status, problem.headers, media_type="application/problem+json")


async def _problem(request: Request, error: Problem) -> JSONResponse:
    return _response(error)


async def _http_exception(request: Request, error: HTTPException) -> JSONResponse:
    code = HTTPStatus(error.status_code).name.lower()
    return _response(Problem(error.status_code, code, error.detail, headers=error.headers))


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    if any(each["loc"][0] == "path" for each in found):
        return _response(not_found())
    errors = [
        {"field": ".".join(str(part) for part in each["loc"][1:]), "code": each["type"], "detail": each["msg"]}
        for each in found
    ]
    return _response(Problem(400, "invalid", "The request is not valid.", errors))


async def _database_down(request: Request, error: Exception) -> JSONResponse:
    return _response(unavailable())
