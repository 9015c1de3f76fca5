"""Work that staff start in the admin and a worker does. It can be followed and stopped, and survives crashes.

The public names are listed in `__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
