"""Finds the encoding of a text file."""

import codecs
import re
from typing import IO

UTF_8 = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""
LAST_RESORT = "cp1252"
_BY_MARK = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, UTF_8),
)
_BLOCK = 2**20
_BROKEN = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\0-\x7f\udc80-\udcff]")


def encoding_of(source: IO[bytes]) -> str:
    """The encoding of ``source``, which must be seekable and stays at its position.

    A byte order mark decides. Without one it is UTF-8, or cp1252 if the file has bytes beyond ASCII and none of them
    are UTF-8. A file with both is UTF-8 with broken lines: they are to be reported, not guessed.
    """
    start = source.tell()
    try:
        head = source.read(4)
        for mark, name in _BY_MARK:
            if head.startswith(mark):
                return name
        source.seek(start)
        return UTF_8 if _is_utf_8(source) else LAST_RESORT
    finally:
        source.seek(start)


def _is_utf_8(source: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    is_broken = False
    while block := source.read(_BLOCK):
        text = decoder.decode(block)
        if not text.isascii():
            is_broken = is_broken or _BROKEN.search(text) is not None
            if _BEYOND_ASCII.search(text):
                return True
    return not (is_broken or _BROKEN.search(decoder.decode(b"", final=True)))
