"""notification-service: its feed."""

from benchmarks.contenders.limit.feed import feed_of
from benchmarks.contenders.limit.wire import served

application = served({"GET /api/events": feed_of("notification")})
