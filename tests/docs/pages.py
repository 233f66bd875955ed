"""Runs the fenced blocks of the documentation's pages.

The first line of a block of shell commands says how it is tested: ``sh run`` is run by the tests,
``sh hand`` was run by hand, and its page says so. What a run block prints is checked against the
block behind it when that is marked ``json answer`` or ``text answer``. To write the answers of a
page anew: ``python tests/docs/pages.py README.md``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from provision_engine.sandbox import Sandbox
from tests.support.engine import engine_process
from tests.support.programs import program

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LIMIT_SECONDS = 60.0

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What differs from one run to the next, and what stands for it while texts are compared.
CHANGING = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d( ?[+-]\d\d:?\d\d|Z)?", "TIME"),
    (r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[0-9a-f]{32}\b", "DIGEST"),
    (r"(?<=-- )[0-9a-f]{8}\b|(?<=X-Request-ID: )[0-9a-f]{8}\b", "REQUEST"),
    (r"(?<=pid )\d+|(?<= #)\d+(?=\])", "PID"),
    (r"\d+\.\d+ ms", "SPENT"),
    (r"\b\d+s(?= ago\)|  +\d)", "AGE"),
    (r"(?m)(?<= )\d+\.\d{4}(?= |$)", "SPENT"),
    (r"(?m)^Date: .*", "DATE"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line's words, its text, and where the text stands in its page."""

    words: tuple[str, ...]
    text: str
    start: int
    end: int

    @property
    def is_shell(self) -> bool:
        return bool(self.words) and self.words[0] in ("sh", "bash", "shell", "console")

    @property
    def is_run(self) -> bool:
        return self.words[:2] == ("sh", "run")

    @property
    def is_answer(self) -> bool:
        return self.words[1:] == ("answer",)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = FENCE.finditer(text)
    return [Block(tuple(m[1].split()), m[2], m.start(2), m.end(2)) for m in found]


@dataclass(frozen=True)
class Site:
    """A running sandbox and engine, and the directory with all their files."""

    sandbox: Sandbox
    engine_port: int
    directory: Path

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}"

    def renamed(self) -> list[tuple[str, str]]:
        """The names in the pages, and the actual ones."""
        return [
            ("127.0.0.1:1337", f"127.0.0.1:{self.engine_port}"),
            ("http://127.0.0.1:2633/RPC2", self.sandbox.oned_url),
            ("http://127.0.0.1:2474", self.sandbox.oneflow_url),
            ("/etc/provision-engine/engine.conf", str(self.directory / "engine.conf")),
            ("/var/log/provision-engine", str(self.directory / "logs")),
            ("/run/provision-engine/engine.pid", str(self.directory / "run" / "engine.pid")),
            ('"port":1337', f'"port":{self.engine_port}'),
        ]

    def run(self, shell_blocks: list[str]) -> list[str]:
        """What each block prints, all run in one shell. AssertionError if one fails."""
        program("curl")
        script = ["set -eu"]
        for number, text in enumerate(shell_blocks):
            for page, here in self.renamed():
                text = text.replace(page, here)
            (self.directory / f"block-{number}").write_text(text)
            script.append(f". ./block-{number} >output-{number} 2>error-{number} </dev/null")
        for name in ("bin", "docs", "etc", "examples"):
            (self.directory / name).symlink_to(ROOT / name)
        code = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=self.directory,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "HOME": str(self.directory),
                "PROVISION_ENGINE_CONF": str(self.directory / "engine.conf"),
                "ENGINE": self.engine_url,
                "PROVISION_ENGINE_URL": self.engine_url,
            },
            timeout=LIMIT_SECONDS,
        ).returncode
        assert code == 0, self._failure(shell_blocks)
        return [self._output(number) for number in range(len(shell_blocks))]

    def _output(self, number: int) -> str:
        text = (self.directory / f"output-{number}").read_text()
        for page, here in self.renamed():
            text = text.replace(here, page)
        return text

    def _failure(self, shell_blocks: list[str]) -> str:
        begun = [n for n in range(len(shell_blocks)) if (self.directory / f"error-{n}").exists()]
        number = begun[-1]
        errors = (self.directory / f"error-{number}").read_text()
        return f"{shell_blocks[number]}\n{self._output(number)}\n{errors}"


@contextlib.contextmanager
def running_site(directory: Path, release: str = "7.4.0") -> Iterator[Site]:
    """A sandbox in this process, and an engine as service managers start it."""
    with (
        Sandbox(release=release) as sandbox,
        engine_process(directory, sandbox, timeout=30) as engine,
    ):
        yield Site(sandbox, engine.port, directory)


def comparable(text: str) -> str:
    """A text with what changes from one run to the next replaced."""
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def shown(output: str, kind: str) -> str:
    """What a run block printed, as an answer block shows it."""
    if kind == "json":
        return json.dumps(json.loads(output), indent=2, ensure_ascii=False) + "\n"
    return "\n".join(line.rstrip() for line in output.strip().splitlines()) + "\n"


def answers(page: str, site: Site) -> list[tuple[Block, str]]:
    """Each answer block of a page, and what the run block before it prints."""
    found = blocks(page)
    run = [block for block in found if block.is_run]
    outputs = dict(
        zip([block.start for block in run], site.run([b.text for b in run]), strict=True)
    )
    pairs = []
    for before, block in itertools.pairwise(found):
        if block.is_answer:
            assert before.is_run, f"an answer without a block that is run: {block.text}"
            pairs.append((block, shown(outputs[before.start], block.words[0])))
    return pairs


def rewritten(page: str, site: Site) -> str:
    """The page with the answers as they are now; those that say the same stay as they are."""
    for block, answer in reversed(answers(page, site)):
        if comparable(block.text) != comparable(answer):
            page = page[: block.start] + answer + page[block.end :]
    return page


def main(names: list[str]) -> int:
    for path in map(Path, names):
        with tempfile.TemporaryDirectory() as directory, running_site(Path(directory)) as site:
            path.write_text(rewritten(path.read_text(encoding="utf-8"), site), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
