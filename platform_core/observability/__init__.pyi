from . import health as health
from . import tracing as tracing
from .lifecycle import LIFECYCLE as LIFECYCLE
from .lifecycle import Lifecycle as Lifecycle
from .lifecycle import own_lifecycle as own_lifecycle
from .logs import logging_config as logging_config
from .logs import own_stdout as own_stdout
from .metrics_files import forget_the_dead as forget_the_dead
