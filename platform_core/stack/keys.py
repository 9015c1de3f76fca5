"""Creates the services' keys, in one process at a time."""

from collections.abc import Mapping
from typing import Any

from platform_core.auth.keys import KeysError, ensure_keys
from platform_core.conf.environment import keys_dir
from platform_core.stack.processes import locked
from platform_core.topology import SERVICES


def make_keys(values: Mapping[str, Any], *, rotate: bool = False) -> list[str]:
    """Create missing keys, or with ``rotate`` new keys for all services. Raises KeysError.

    Returns the names of the services that got a new key. Writes only into the folders of the services, because each may
    be a volume in a read-only folder.
    """
    folder = keys_dir(values)
    try:
        lock = locked(folder / SERVICES[0].name / "keys.lock")
    except OSError as error:
        raise KeysError(f"The folder {folder} cannot be used: {error.strerror}. Set KEYS_DIR.") from None
    assert lock is not None
    with lock:
        return ensure_keys(folder, rotate=rotate)
