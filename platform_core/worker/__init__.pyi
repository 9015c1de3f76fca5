from .duties import Duty as Duty
from .housekeeping import BATCH as BATCH
from .housekeeping import HOUSEKEEPING as HOUSEKEEPING
