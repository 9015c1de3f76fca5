"""Background work of analytics-service: follows the feeds."""

from analytics_svc.following import Follower
from platform_core.worker import Duty

_follower = Follower()
DUTIES = (Duty("feeds", _follower.run, pause=0.25, finish=_follower.finish),)
