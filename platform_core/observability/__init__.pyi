from . import health as health
from . import tracing as tracing
from .logs import logging_config as logging_config
from .logs import own_stdout as own_stdout
from .metrics_files import forget_the_dead as forget_the_dead
