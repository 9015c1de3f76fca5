"""user-service."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Identity, bindparam, func, select
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.contenders.fastapi_sqlalchemy.database import Base, Reading
from benchmarks.contenders.fastapi_sqlalchemy.problems import not_found
from benchmarks.contenders.fastapi_sqlalchemy.service import create_app
from benchmarks.contenders.fastapi_sqlalchemy.wire import Answer, IdInPath, columns

router = APIRouter(prefix="/api")


class User(Base):
    __tablename__ = "user_svc_user"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str]
    address: Mapped[str]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class UserAnswer(Answer):
    id: str
    name: str
    email: str
    phone: str
    address: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


users = User.__table__
_USER = select(*columns(users, UserAnswer)).where(users.c.id == bindparam("user_id"))


class UserStats(Answer):
    total: int
    new_today: int


@router.get("/users/{user_id}", response_model=UserAnswer)
async def get_user(user_id: IdInPath, session: Reading) -> Any:
    user = (await session.execute(_USER, {"user_id": user_id})).one_or_none()
    if user is None:
        raise not_found()
    return user


@router.get("/stats", response_model=UserStats)
async def get_stats(session: Reading) -> Any:
    today = User.created_at >= func.date_trunc("day", func.now(), "UTC")
    figures = await session.execute(
        select(func.count().label("total"), func.count().filter(today).label("new_today")).select_from(User)
    )
    return figures.one()


app = create_app("user-service", router)
