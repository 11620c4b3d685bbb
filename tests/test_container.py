"""The container: built and run where a Docker engine answers, otherwise walked through step by step.

The walk takes its steps from the Dockerfile itself, with the paths of the image put below a folder, so that the two
cannot drift apart: it installs the lock, then starts each stage as a user without rights who can write to /tmp alone.
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
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
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
    """How a stage of the Dockerfile starts; its files are below the folder of the walk."""

    environ: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)


def walk(repository: Path, root: Path, base_python: str) -> dict[str, Image]:
    """Take the steps without Docker, with ``/src``, ``/opt`` and ``/data`` of the image below ``root``, and give each
    stage by its name, the last one by none. ``base_python`` stands for the one that the image is based on."""
    stages: dict[str, Image] = {}
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
            case "FROM":
                base, _, name = text.partition(" AS ")
                image = stages[name] = deepcopy(stages.get(base, Image()))
            case "ENV":
                image.environ |= dict(each.split("=", 1) for each in shlex.split(rest))
            case "HEALTHCHECK":
                image.health_check = json.loads(rest.partition(" CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "COPY" | "USER" | "EXPOSE":
                pass
            case _:
                pytest.fail(f"the walk does not know the instruction {word}")
    return stages


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
        except OSError:
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


def call(base: str, repository: Path, key: dict[str, Any] | None) -> Any:
    """The answer to a call, with a token of this key."""
    body = (repository / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
    url = f"{base}/cds-services/gluteal-hamstring-pain"
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {sign(key, claims_for(ISSUER, url, time.time()))}"
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
def in_docker(repository: Path, stage: str, *options: str) -> Iterator[Container]:
    """The image of a stage, the last one where none is named, run with these options."""
    name = f"sitbone-test-{uuid.uuid4().hex[:12]}"
    check = next(json.loads(rest.partition(" CMD ")[2]) for word, rest in steps(repository) if word == "HEALTHCHECK")

    def is_healthy() -> bool:
        return subprocess.run(["docker", "exec", name, *check], timeout=20, check=False).returncode == 0

    def stop() -> int:
        docker("stop", name)
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", name))

    docker("build", *(("--target", stage) if stage else ()), "--tag", name, repository)
    try:
        docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::8080", *options, name)
        yield Container(f"http://{docker('port', name, '8080/tcp')}", is_healthy, stop)
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False)
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


@dataclass(frozen=True, slots=True)
class Walked:
    """The Dockerfile as it was walked through below `root`, where a file of clients with this key lies too."""

    root: Path
    stages: dict[str, Image]
    key: dict[str, Any]

    @property
    def clients(self) -> str:
        return str(self.root / "clients" / "clients.toml")

    def starts(
        self, stage: str, port: int, variables: Mapping[str, str], said: int | None = None
    ) -> "subprocess.Popen[str]":
        """The service of a stage, as a user without rights; `said` is where its error output goes."""
        environ = self.stages[stage].environ | {"PORT": str(port), **variables}
        return subprocess.Popen(
            self.stages[stage].entrypoint,
            cwd="/",
            env=environ,
            stderr=said,
            text=True,
            start_new_session=True,
            **without_rights(),
        )

    @contextlib.contextmanager
    def running(self, stage: str, **variables: str) -> Iterator[Container]:
        port = free_port()
        service = self.starts(stage, port, variables)
        environ = self.stages[stage].environ | {"PORT": str(port)}

        def is_healthy() -> bool:
            check = self.stages[stage].health_check
            return (
                subprocess.run(check, cwd="/", env=environ, timeout=20, check=False, **without_rights()).returncode == 0
            )

        def stop() -> int:
            service.send_signal(signal.SIGTERM)
            return service.wait(timeout=15)

        try:
            yield Container(f"http://127.0.0.1:{port}", is_healthy, stop)
        finally:
            if service.poll() is None:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()


@pytest.fixture(scope="module")
def walked(repository: Path) -> Iterator[Walked | None]:
    """None where Docker answers, or no Python is open to a user without rights."""
    python = None if docker_answers() else python_for(without_rights())
    if python is None:
        yield None
        return
    # pytest's own folders are closed to the user that the service runs as.
    root = Path(tempfile.mkdtemp(prefix="sitbone-", dir="/tmp"))
    try:
        stages, key = walk(repository, root, python), new_key()
        write_clients(root / "clients", key)
        closed = [each for each in root.iterdir() if each.name != "data"]
        subprocess.run(["chmod", "-R", "a-w,a+rX", *closed], check=True)
        root.chmod(0o555)
        yield Walked(root, stages, key)
    finally:
        subprocess.run(["chmod", "-R", "u+w", root], check=True)
        shutil.rmtree(root)


NO_PYTHON = "no Python of 3.11 or newer with venv is open to a user without rights"


def test_the_image_gives_a_service_that_runs_without_rights_answers_and_stops_when_told(
    walked: Walked | None, repository: Path, tmp_path: Path, leave_out: Callable[[str], NoReturn]
) -> None:
    key = walked.key if walked else new_key()
    if walked:
        running = walked.running(
            "",
            SITBONE_HOST="127.0.0.1",
            SITBONE_CLIENTS=walked.clients,
            SITBONE_DRAFT="show",
            SITBONE_STORE=str(walked.root / "data"),
        )
    elif docker_answers():
        write_clients(tmp_path / "clients", key)
        environ = (
            "SITBONE_CLIENTS=/etc/sitbone/clients.toml",
            "SITBONE_DRAFT=show",
            "SITBONE_PUBLIC_BASE_URL=https://cds.example.org",
            "SITBONE_STORE=/data",
        )
        # As the guide for operators has it: a new volume.
        volumes = ("--volume", f"{tmp_path / 'clients'}:/etc/sitbone:ro", "--volume", "/data")
        given = [option for each in environ for option in ("--env", each)]
        running = in_docker(repository, "", "--read-only", "--tmpfs", "/tmp", *volumes, *given)
    else:
        leave_out(NO_PYTHON)
    with running as container:
        wait_until_healthy(container.base)

        assert call(container.base, repository, key)["cards"]
        assert container.is_healthy()
        assert container.stop() == 0
        assert not container.is_healthy()


def test_the_demo_starts_alone_and_shows_its_patients_and_the_second_opinion(
    walked: Walked | None, repository: Path, leave_out: Callable[[str], NoReturn]
) -> None:
    if walked:
        running = walked.running("demo")
    elif docker_answers():
        running = in_docker(repository, "demo")
    else:
        leave_out(NO_PYTHON)
    with running as container:
        wait_until_healthy(container.base)

        page = read(f"{container.base}/").decode()
        assert "Demo, of made-up patients alone" in page
        patients = json.loads(read(f"{container.base}/demo/patients"))["patients"]
        assert len(patients) > 40
        request = json.loads(read(f"{container.base}/demo/patients/{patients[0]['name']}"))
        called = urllib.request.Request(
            f"{container.base}/cds-services/gluteal-hamstring-pain",
            json.dumps(request).encode(),
            {"Content-Type": "application/json"},
        )
        assert json.loads(read(called))["cards"]
        # The page hands it a chart, and what it launches is found on this machine.
        chart = {"patient": request["context"]["patientId"], "resources": [request["prefetch"]["patient"]]}
        launched = json.loads(
            read(
                urllib.request.Request(
                    f"{container.base}/demo/ehr/charts",
                    json.dumps(chart).encode(),
                    {"Content-Type": "application/json"},
                )
            )
        )
        assert launched["iss"].startswith("http://127.0.0.1:")
        if walked:
            assert launched["iss"] == f"{container.base}/demo/ehr"
            assert json.loads(read(f"{launched['iss']}/.well-known/smart-configuration"))["token_endpoint"]
        assert container.is_healthy()
        assert container.stop() == 0


def read(url: str | urllib.request.Request) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize(
    ("stage", "given", "says"),
    [
        ("demo", ("SITBONE_CLIENTS",), "the demo is for made-up patients and takes no clients."),
        ("", (), "without a file of clients everybody there could call"),
    ],
)
def test_the_demo_takes_no_clients_and_the_image_of_the_service_none_but_clients(
    walked: Walked | None, stage: str, given: tuple[str, ...], says: str, leave_out: Callable[[str], NoReturn]
) -> None:
    if walked is None:
        leave_out("how a start ends is looked at on foot")
    service = walked.starts(stage, free_port(), dict.fromkeys(given, walked.clients), subprocess.PIPE)
    _, complaints = service.communicate(timeout=60)

    assert service.returncode == 2
    assert says in complaints
    assert complaints.count("\n") == 1


def test_what_is_built_where_no_stage_is_named_is_the_service(repository: Path) -> None:
    *_, (last, base) = [step for step in steps(repository) if step[0] == "FROM"]
    after = steps(repository)[steps(repository).index((last, base)) + 1 :]

    assert (base, after) == ("service", [])


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
    bases = {re.sub(r" AS .*", "", rest) for word, rest in steps(repository) if word == "FROM"} - {"service"}

    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-4]-slim", bases.pop())
