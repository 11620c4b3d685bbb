"""Signatures in the format of minisign: what its program takes, and what it refuses."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from service.release.minisign import NotVerifiedError, PublicKey, verify
from tests.release.keys import Key

KEY, OTHER = Key(), Key()
CONTENT = b'{"role":"clinical"}'


def _lines(signature: bytes) -> list[bytes]:
    return signature.splitlines(keepends=True)


def _with_line(number: int, line: bytes) -> bytes:
    lines = _lines(KEY.sign(CONTENT))
    lines[number] = line
    return b"".join(lines)


def _flipped(number: int, at: int) -> bytes:
    """With one bit of what stands in base64 on a line turned over."""
    raw = bytearray(b64decode(_lines(KEY.sign(CONTENT))[number]))
    raw[at] ^= 1
    return _with_line(number, b64encode(raw) + b"\n")


GOOD: dict[str, tuple[bytes, bytes]] = {
    "prehashed": (CONTENT, KEY.sign(CONTENT)),
    "legacy": (CONTENT, KEY.sign(CONTENT, legacy=True)),
    "of nothing": (b"", KEY.sign(b"")),
    "of nothing, legacy": (b"", KEY.sign(b"", legacy=True)),
    "of one byte": (b"\0", KEY.sign(b"\0")),
    "of a long file": (CONTENT * 20_000, KEY.sign(CONTENT * 20_000)),
    "of a long file, legacy": (CONTENT * 20_000, KEY.sign(CONTENT * 20_000, legacy=True)),
    "of bytes that are no text": (bytes(range(256)), KEY.sign(bytes(range(256)))),
    "with an empty trusted comment": (CONTENT, KEY.sign(CONTENT, comment="")),
    "with a long trusted comment": (CONTENT, KEY.sign(CONTENT, comment="x" * 8_000)),
    "with a trusted comment in another script": (CONTENT, KEY.sign(CONTENT, comment="прочитано ✓")),
    "with a tab in it": (CONTENT, KEY.sign(CONTENT, comment="a\tb")),
    "with spaces around it": (CONTENT, KEY.sign(CONTENT, comment="  a  ")),
    "with lines as Windows ends them": (CONTENT, KEY.sign(CONTENT).replace(b"\n", b"\r\n")),
    "without an end of the last line": (CONTENT, KEY.sign(CONTENT).rstrip(b"\n")),
    "without it, legacy": (CONTENT, KEY.sign(CONTENT, legacy=True).rstrip(b"\n")),
    "with more lines behind": (CONTENT, KEY.sign(CONTENT) + b"more\n"),
    "with another untrusted comment": (CONTENT, _with_line(0, b"untrusted comment: anything\n")),
    "with an empty untrusted comment": (CONTENT, _with_line(0, b"untrusted comment: \n")),
    "with a long untrusted comment": (CONTENT, _with_line(0, b"untrusted comment: " + b"x" * 1_000 + b"\n")),
}
BAD: dict[str, tuple[bytes, bytes]] = {
    "other content": (CONTENT + b" ", KEY.sign(CONTENT)),
    "other content, legacy": (CONTENT + b" ", KEY.sign(CONTENT, legacy=True)),
    "by another key": (CONTENT, OTHER.sign(CONTENT)),
    "by another key of this id": (CONTENT, Key(id=KEY.id).sign(CONTENT)),
    "another trusted comment": (CONTENT, _with_line(2, b"trusted comment: another\n")),
    "a changed signature": (CONTENT, _flipped(1, 30)),
    "a changed key id": (CONTENT, _flipped(1, 3)),
    "another algorithm": (CONTENT, _flipped(1, 0)),
    "legacy said to be prehashed": (CONTENT, _flipped(1, 1)),
    "a changed signature of the comment": (CONTENT, _flipped(3, 5)),
    "an empty file": (CONTENT, b""),
    "one line": (CONTENT, b"".join(_lines(KEY.sign(CONTENT))[:1])),
    "no trusted comment": (CONTENT, b"".join(_lines(KEY.sign(CONTENT))[:2])),
    "no signature of the comment": (CONTENT, b"".join(_lines(KEY.sign(CONTENT))[:3])),
    "no untrusted comment": (CONTENT, b"".join(_lines(KEY.sign(CONTENT))[1:])),
    "another word for it": (CONTENT, _with_line(0, b"comment: x\n")),
    "an untrusted comment that is too long": (CONTENT, _with_line(0, b"untrusted comment: " + b"x" * 1_100 + b"\n")),
    "a signature that is too short": (CONTENT, _with_line(1, _lines(KEY.sign(CONTENT))[1][4:])),
    "a signature that is no base64": (CONTENT, _with_line(1, b"!" * 100 + b"\n")),
    "a space within a signature": (CONTENT, _with_line(1, b" " + _lines(KEY.sign(CONTENT))[1])),
}


def _accepts(content: bytes, signature: bytes) -> bool:
    try:
        verify(content, signature, PublicKey.read(KEY.public))
    except NotVerifiedError:
        return False
    return True


@pytest.fixture
def program_accepts(tmp_path: Path) -> Callable[[bytes, bytes], bool]:
    """Whether `minisign -V` takes a signature over a content by the key of these tests."""

    def accepts(content: bytes, signature: bytes) -> bool:
        (tmp_path / "x").write_bytes(content)
        (tmp_path / "x.minisig").write_bytes(signature)
        command = ["minisign", "-V", "-q", "-P", KEY.public, "-m", "x"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    return accepts


@pytest.mark.parametrize("name", GOOD)
def test_a_good_signature_verifies(name: str) -> None:
    assert _accepts(*GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_one_does_not(name: str) -> None:
    assert not _accepts(*BAD[name])


@pytest.mark.needs_system("minisign", "the service takes what it takes")
def test_the_program_takes_the_same_ones_and_refuses_the_same_ones(
    program_accepts: Callable[[bytes, bytes], bool],
) -> None:
    assert len(GOOD) == len(BAD) == 20
    assert [name for name, signed in GOOD.items() if not program_accepts(*signed)] == []
    assert [name for name, signed in BAD.items() if program_accepts(*signed)] == []


@pytest.mark.needs_system("minisign", "the service takes what it takes")
@pytest.mark.parametrize("more", [[], ["-l"]])
def test_what_the_program_signs_with_a_key_of_its_own_verifies(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    new_key = ["minisign", "-G", "-W", "-p", "k.pub", "-s", "k.key"]
    subprocess.run(new_key, cwd=tmp_path, capture_output=True, check=True)
    subprocess.run(["minisign", "-S", *more, "-s", "k.key", "-m", "x"], cwd=tmp_path, capture_output=True, check=True)
    key = PublicKey.read((tmp_path / "k.pub").read_text().splitlines()[1])
    assert "file:x" in verify(CONTENT, (tmp_path / "x.minisig").read_bytes(), key)
    with pytest.raises(NotVerifiedError, match="is not over this content"):
        verify(CONTENT + b" ", (tmp_path / "x.minisig").read_bytes(), key)


def test_a_trusted_comment_that_cannot_be_shown_is_refused_as_newer_versions_of_the_program_do() -> None:
    assert not _accepts(CONTENT, KEY.sign(CONTENT, comment="a\x1b[2Jb"))
