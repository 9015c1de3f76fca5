"""notification-service."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Identity, func, select
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.contenders.fastapi_sqlalchemy.database import Base, Reading
from benchmarks.contenders.fastapi_sqlalchemy.service import create_app
from benchmarks.contenders.fastapi_sqlalchemy.wire import Answer

router = APIRouter(prefix="/api")


class Notification(Base):
    __tablename__ = "notification_svc_notification"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    status: Mapped[str]


class NotificationStats(Answer):
    total: int
    by_status: dict[str, int]


@router.get("/stats", response_model=NotificationStats)
async def get_stats(session: Reading) -> Any:
    rows = await session.execute(select(Notification.status, func.count()).group_by(Notification.status))
    found = dict(rows.all())
    return {"total": sum(found.values()), "by_status": {status: found.get(status, 0) for status in ("sent", "failed")}}


app = create_app("notification-service", router)
