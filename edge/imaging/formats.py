"""Which format a file has, by its first bytes and never by its name. Touches nothing but those bytes."""

HEAD_BYTES = 132
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
}


def sniff_format(head: bytes) -> str | None:
    """dicom, png, jpeg or tiff, or None. `head`: at least the first HEAD_BYTES of the file.

    DICOM by its prefix DICM (PS3.10 section 7.1), or, without preamble, by a first element of group 0002 or 0008.
    """
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    little_endian_group = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"
    return "dicom" if little_endian_group else None
