"""A folder of knowledge as one file, so that what was signed, or answered on a day, can be read again.

The same content makes the same bytes. Specification: the ustar format of tar, in gzip (RFC 1952).
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from service.release.signatures import REVOCATIONS, SIGNATURES

SUFFIX = ".tar.gz"


def pack(folder: Path) -> bytes:
    """The files that knowledge is read from, without the signatures."""
    paths = (path for suffix in ("toml", "csv") for path in folder.rglob(f"*.{suffix}"))
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(names):
            if name.partition("/")[0] not in (SIGNATURES, REVOCATIONS):
                content = names[name].read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(text.getvalue(), mtime=0)


def unpack(packed: bytes, folder: Path) -> None:
    """Write the files to a folder that is there."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        tar.extractall(folder, filter="data")
