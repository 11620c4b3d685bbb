"""The container: built and run where a Docker engine answers, otherwise walked through step by step.

The walk takes its steps from the Dockerfile itself, with the paths of the image put below a folder, so that the two
cannot drift apart: it installs the lock, then starts the service as a user without rights who can write to /tmp alone.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign

ISSUER = "https://ehr.example.org/"
USER = 65532


def steps(repository: Path) -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with what follows it, in order."""
    lines = (repository / "Dockerfile").read_text().splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")]


@dataclass(slots=True)
class Image:
    """What the steps of the Dockerfile make, with ``/src``, ``/opt`` and ``/data`` of the image below ``root``."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)


def walk(repository: Path, root: Path, base_python: str) -> Image:
    """Take the steps without Docker; ``base_python`` stands for the one that the image is based on."""
    image = Image(root)
    folder = root
    for word, text in steps(repository):
        rest = re.sub(r"(?<![\w.])/(opt|src|data)\b", rf"{root}/\1", text)
        match word:
            case "WORKDIR":
                folder = Path(rest)
                folder.mkdir(parents=True)
            case "COPY" if not rest.startswith("--from="):
                *sources, target = rest.split()
                for source in sources:
                    copy(repository / source, folder / (source if target == "./" else target))
            case "RUN":
                first, *arguments = shlex.split(as_who_runs_it(rest))
                command = [base_python if first == "python" else first, *arguments]
                ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
            case "ENV":
                image.environ |= dict(each.split("=", 1) for each in shlex.split(rest))
            case "HEALTHCHECK":
                image.health_check = json.loads(rest.partition(" CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "FROM" | "COPY" | "USER" | "EXPOSE":
                pass
            case _:
                pytest.fail(f"the walk does not know the instruction {word}")
    return image


def as_who_runs_it(command: str) -> str:
    """The command with the user who runs the service on foot in the place of the image's."""
    rights = without_rights()
    user, group = rights.get("user", os.geteuid()), rights.get("group", os.getegid())
    return command.replace(f"--owner={USER}", f"--owner={user}").replace(f"--group={USER}", f"--group={group}")


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def docker(*arguments: str | Path) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_until_healthy(base: str) -> None:
    give_up = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{base}/healthz", timeout=1).close()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def write_clients(folder: Path, key: dict[str, Any]) -> None:
    """A file of clients with one who has this key, for everybody to read; without one no image starts."""
    folder.mkdir(exist_ok=True)
    (folder / "jwks.json").write_text(json.dumps(key_set(key)))
    (folder / "clients.toml").write_text(f'[clients.test]\nissuers = ["{ISSUER}"]\njwks_file = "jwks.json"\n')
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


def call(base: str, repository: Path, key: dict[str, Any]) -> Any:
    body = (repository / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
    url = f"{base}/cds-services/gluteal-hamstring-pain"
    token = sign(key, claims_for(ISSUER, url, time.time()))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@dataclass(frozen=True, slots=True)
class Container:
    """A running service: its base address, its health check (true when healthy), and its end (the exit code)."""

    base: str
    is_healthy: Callable[[], bool]
    stop: Callable[[], int]


@contextlib.contextmanager
def in_docker(repository: Path, folder: Path) -> Iterator[Container]:
    """With the file of clients that is in `folder`."""
    name = f"sitbone-test-{uuid.uuid4().hex[:12]}"
    check = next(json.loads(rest.partition(" CMD ")[2]) for word, rest in steps(repository) if word == "HEALTHCHECK")

    def is_healthy() -> bool:
        return subprocess.run(["docker", "exec", name, *check], timeout=20, check=False).returncode == 0

    def stop() -> int:
        docker("stop", name)
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", name))

    docker("build", "--tag", name, repository)
    try:
        clients = ("--volume", f"{folder}:/etc/sitbone:ro", "--env", "SITBONE_CLIENTS=/etc/sitbone/clients.toml")
        public = ("--env", "SITBONE_PUBLIC_BASE_URL=https://cds.example.org")
        # As the guide for operators has it: a new volume.
        store = ("--volume", f"{name}:/data", "--env", "SITBONE_STORE=/data")
        outside = ("--publish", "127.0.0.1::8080", *clients, *public, *store)
        docker("run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp", *outside, name)
        yield Container(f"http://{docker('port', name, '8080/tcp')}", is_healthy, stop)
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False)
        subprocess.run(["docker", "volume", "rm", "--force", name], check=False)
        subprocess.run(["docker", "rmi", "--force", name], check=False)


def without_rights() -> dict[str, Any]:
    """How to start a process so that it has no rights, where this one has them."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def python_for(rights: dict[str, Any]) -> str | None:
    """An interpreter that such a process can run: the one of these tests may lie in its owner's closed home folder."""
    suits = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    [python, "-c", suits], cwd="/", stderr=subprocess.DEVNULL, check=False, **rights
                ).returncode
                == 0
            ):
                return python
    return None


@contextlib.contextmanager
def on_foot(repository: Path, base_python: str, key: dict[str, Any]) -> Iterator[Container]:
    """With a file of clients that has this key."""
    # pytest's own folders are closed to the user that the service runs as.
    root = Path(tempfile.mkdtemp(prefix="sitbone-", dir="/tmp"))
    try:
        rights = without_rights()
        image = walk(repository, root, base_python)
        write_clients(root / "clients", key)
        closed = [each for each in root.iterdir() if each.name != "data"]
        subprocess.run(["chmod", "-R", "a-w,a+rX", *closed], check=True)
        root.chmod(0o555)
        port = free_port()
        clients = str(root / "clients" / "clients.toml")
        environ = image.environ | {"PORT": str(port), "SITBONE_HOST": "127.0.0.1", "SITBONE_CLIENTS": clients}
        environ["SITBONE_STORE"] = str(root / "data")
        service = subprocess.Popen(image.entrypoint, cwd="/", env=environ, start_new_session=True, **rights)

        def is_healthy() -> bool:
            check = subprocess.run(image.health_check, cwd="/", env=environ, timeout=20, check=False, **rights)
            return check.returncode == 0

        def stop() -> int:
            service.send_signal(signal.SIGTERM)
            return service.wait(timeout=15)

        try:
            yield Container(f"http://127.0.0.1:{port}", is_healthy, stop)
        finally:
            if service.poll() is None:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()
    finally:
        subprocess.run(["chmod", "-R", "u+w", root], check=True)
        shutil.rmtree(root)


def test_the_image_gives_a_service_that_runs_without_rights_answers_and_stops_when_told(
    repository: Path, tmp_path: Path, leave_out: Callable[[str], NoReturn]
) -> None:
    key = new_key()
    if docker_answers():
        write_clients(tmp_path / "clients", key)
        running = in_docker(repository, tmp_path / "clients")
    elif (python := python_for(without_rights())) is not None:
        running = on_foot(repository, python, key)
    else:
        leave_out("no Python of 3.11 or newer with venv is open to a user without rights")
    with running as container:
        wait_until_healthy(container.base)

        assert call(container.base, repository, key)["cards"]
        assert container.is_healthy()
        assert container.stop() == 0
        assert not container.is_healthy()


def test_the_image_installs_by_hash_and_runs_as_a_numbered_user_without_rights(repository: Path) -> None:
    taken = steps(repository)

    installs = [rest for word, rest in taken if word == "RUN" and " pip install " in rest.replace("/", " ")]
    assert installs
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in installs)
    assert [rest for word, rest in taken if word == "USER"] == [f"{USER}:{USER}"]


def test_the_folder_of_the_databases_is_there_for_that_user_alone(repository: Path, tmp_path: Path) -> None:
    made = [rest for word, rest in steps(repository) if word == "RUN" and rest.endswith(" /data")]
    assert [set(re.findall(r"--(owner|group)=(\d+)", rest)) for rest in made] == [
        {("owner", str(USER)), ("group", str(USER))}
    ]
    folder = tmp_path / "data"
    subprocess.run(shlex.split(as_who_runs_it(made[0].replace("/data", str(folder)))), check=True)
    assert folder.stat().st_mode & 0o777 == 0o700
    guide = (repository / "docs" / "guide-operator.md").read_text("utf-8")
    assert "--volume sitbone-data:/data" in guide
    assert "--env SITBONE_STORE=/data" in guide


def test_the_build_context_holds_what_the_image_copies_and_nothing_else(repository: Path) -> None:
    lines = (repository / ".dockerignore").read_text().splitlines()
    copies = [
        rest.split()[:-1] for word, rest in steps(repository) if word == "COPY" and not rest.startswith("--from=")
    ]

    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {source for sources in copies for source in sources}


def test_the_image_stands_on_one_python_that_the_project_supports(repository: Path) -> None:
    bases = {re.sub(r" AS .*", "", rest) for word, rest in steps(repository) if word == "FROM"}

    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-4]-slim", bases.pop())
