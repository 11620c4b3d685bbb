"""Compares the decisions of this checkout with those of another one; ends with 1 when one of them differs.

    python -m sameness --beside FOLDER [--generated 5000] [--added MEMBER ...]

FOLDER is a git worktree of the commit to compare with. It is run by this Python, with its own code and knowledge.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from sameness.charts import SEED, Call, calls
from service.commands.replay import differences
from tests.charts import CLOCK

HERE = Path(__file__).parent
_SHOWN = 20


def started(checkout: Path, requests: Path, output: Any) -> subprocess.Popen[bytes]:
    """A process that writes the decisions of this checkout to `output`."""
    # What a checkout decides with may have other names there: its own program knows them.
    program = checkout / "sameness" / "decide.py"
    if not program.is_file():
        program = HERE / "decide.py"
    with requests.open("rb") as asked:
        return subprocess.Popen(
            [sys.executable, "-P", program, CLOCK.isoformat()],
            stdin=asked,
            stdout=output,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )


def without(value: Any, members: Sequence[str]) -> Any:
    """A JSON value without the members of these names."""
    if isinstance(value, dict):
        return {key: without(inner, members) for key, inner in value.items() if key not in members}
    return [without(inner, members) for inner in value] if isinstance(value, list) else value


def compared(beside: Path, asked: Iterable[Call], added: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """The name of each chart, and in which members its decision differs."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests"
        names = []
        with requests.open("wb") as file:
            for call in asked:
                names.append(call.name)
                line = {"service": call.service, "request": call.request}
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        outputs = [stack.enter_context((Path(folder) / side).open("w+b")) for side in ("there", "here")]
        processes = [
            started(checkout, requests, output) for checkout, output in zip((beside, HERE.parent), outputs, strict=True)
        ]
        if any(process.wait() for process in processes):
            sys.exit("One of the checkouts could not decide.")
        for output in outputs:
            output.seek(0)
        for name, there, here in zip(names, *outputs, strict=True):
            # Most are the same to the byte.
            found = [] if there == here else differences(orjson.loads(there), without(orjson.loads(here), added))
            yield name, [f"{each.path}: {json.dumps(each.sides)}" for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the decisions of this checkout with those of another.")
    parser.add_argument("--beside", type=Path, required=True, metavar="FOLDER", help="the other checkout")
    parser.add_argument("--generated", type=int, default=5000, metavar="N", help="how many charts are made up")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--added", action="append", default=[], metavar="MEMBER", help="a member that is new here")
    options = parser.parse_args()
    differing = count = 0
    for name, found in compared(options.beside.resolve(), calls(options.generated, options.seed), options.added):
        count += 1
        differing += bool(found)
        if found and differing <= _SHOWN:
            print(name, *found, sep="\n  ")
    print(f"{count} charts, {differing} with differences")
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
