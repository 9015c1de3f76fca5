"""user-service: one user, and the feed."""

from datetime import datetime

import msgspec

from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.feed import feed_of
from benchmarks.contenders.limit.wire import Answer, Environ, id_of, one, served

_ONE = """
    SELECT version, id::text, name, email, phone, address, is_active, created_at, updated_at
    FROM user_svc_user WHERE id = %(id)s
"""


class User(msgspec.Struct, rename="camel"):
    id: str
    name: str
    email: str
    phone: str
    address: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


def retrieve(environ: Environ, name: str) -> Answer:
    return one(environ, execute(_ONE, {"id": id_of(name)}).fetchone(), User)


application = served({"GET /api/users/*": retrieve, "GET /api/events": feed_of("user")})
