from .history import compare_with as compare_with
from .history import loss as loss
from .log import NewEvent as NewEvent
from .log import append as append
from .log import appending as appending
from .models import Event as Event
from .models import FeedConsumer as FeedConsumer
