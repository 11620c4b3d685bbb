"""docs/trust.md says what is so, and its commands do what it says."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from service.access.clients import _SCHEMA
from service.settings import _FIELDS


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "trust.md").read_text()


def test_every_key_of_an_entry_is_explained_and_no_other(page: str, repository: Path) -> None:
    table = page.partition("## The file of clients")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(_SCHEMA.fields)
    example = (repository / "clients.example.toml").read_text()
    assert all(re.search(rf"\b{key}\b", example) for key in _SCHEMA.fields)


def test_every_setting_that_is_named_is_one(page: str) -> None:
    assert set(re.findall(r"SITBONE_\w+", page)) <= set(_FIELDS)
    assert {"SITBONE_CLIENTS", "SITBONE_PUBLIC_BASE_URL", "SITBONE_STORE", "SITBONE_STORE_URL"} <= set(
        re.findall(r"SITBONE_\w+", page)
    )


@pytest.mark.needs_system("bash", "the page's commands are for a shell")
@pytest.mark.needs_system("curl", "the page calls the service with it")
def test_the_commands_of_the_page_prove_a_call(page: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    sitbone = tmp_path / "bin" / "sitbone"
    sitbone.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from service.cli import main; main()" "$@"\n')
    sitbone.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first_section = page.split("\n## ")[1]
    blocks = re.findall(r"```sh\n(.*?)```", first_section, re.DOTALL)
    start, calls = (block.replace("8080", str(port)) for block in blocks)
    (tmp_path / "store").mkdir(mode=0o700)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")} | {
        "PATH": f"{sitbone.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "SITBONE_PORT": str(port),
        "SITBONE_STORE": str(tmp_path / "store"),
    }
    # The service goes on in the background, in the process group of the shell that started it.
    with subprocess.Popen(
        ["bash", "-ec", f"{start}\nwait"], cwd=tmp_path, env=environ, start_new_session=True
    ) as shell:
        try:
            end = time.monotonic() + 20
            while not answers(port) and time.monotonic() < end:
                time.sleep(0.05)
            called = subprocess.run(
                ["bash", "-c", calls], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
            )
        finally:
            os.killpg(shell.pid, signal.SIGTERM)

    assert "Accepted." in called.stdout
    assert re.findall(r"HTTP/1.1 (\d+)", called.stdout) == ["200", "401"]
    assert "used before" in called.stdout


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True
