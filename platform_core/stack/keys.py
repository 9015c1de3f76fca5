"""The folder of the services' keys, made by one process at a time."""

from collections.abc import Mapping
from typing import Any

from platform_core.auth.keys import KeysError, ensure_keys
from platform_core.conf.environment import keys_dir
from platform_core.stack.processes import locked
from platform_core.topology import SERVICES


def make_keys(values: Mapping[str, Any], *, rotate: bool = False) -> list[str]:
    """Make what is missing, or new ones for all. The services that got a new key. Raises KeysError.

    Writes into the services' folders alone: each may be a volume, in a folder that cannot be written.
    """
    folder = keys_dir(values)
    try:
        lock = locked(folder / SERVICES[0].name / "keys.lock")
    except OSError as error:
        raise KeysError(f"The folder {folder} cannot be used: {error.strerror}. Set KEYS_DIR.") from None
    assert lock is not None
    with lock:
        return ensure_keys(folder, rotate=rotate)
