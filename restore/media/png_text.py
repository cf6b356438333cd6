"""Tags in PNG files: text chunks, and for the kind of source the XMP packet that pictures have.

Sources: PNG specification, 3rd edition, 11.3.3 (tEXt, iTXt); XMP specification part 3, 1.1.5
(keyword ``XML:com.adobe.xmp``); IPTC Photo Metadata Standard (Iptc4xmpExt:DigitalSourceType).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import quoteattr

__all__ = ["SOURCE_TYPE", "with_tags"]

#: The tag that says by which means a picture came to be; its value is one of IPTC's addresses.
SOURCE_TYPE: Final = "digital_source_type"
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER_END: Final = len(_SIGNATURE) + 4 + 4 + 13 + 4  # signature and IHDR
_MOST_KEY: Final = 79
_XMP: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType={value}/></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
)


def with_tags(png: bytes, tags: Mapping[str, str]) -> bytes:
    """A PNG file with tags behind its header, where readers find them before the picture.

    Args:
        png: a whole file.
        tags: keys of 1 to 79 Latin letters; others are left out, since a PNG cannot hold them.
    """
    if not png.startswith(_SIGNATURE) or not tags:
        return png
    chunks = b"".join(_text(key, value) for key, value in tags.items())
    said = next((value for key, value in tags.items() if key.lower() == SOURCE_TYPE), "")
    if said:
        chunks += _international("XML:com.adobe.xmp", _XMP.format(value=quoteattr(said)))
    return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def _text(key: str, value: str) -> bytes:
    name = key.strip()
    if not 1 <= len(name) <= _MOST_KEY or not (name.isascii() and name.isprintable()):
        return b""
    plain = value.replace("\r\n", "\n").replace("\0", "")
    try:
        return _chunk(b"tEXt", name.encode() + b"\0" + plain.encode("latin-1"))
    except UnicodeEncodeError:
        return _international(name, plain)


def _international(key: str, value: str) -> bytes:
    # Not compressed, no language, no translated keyword.
    return _chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + value.encode(errors="replace"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return len(data).to_bytes(4, "big") + kind + data + crc.to_bytes(4, "big")
