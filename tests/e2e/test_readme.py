"""What the README and the pages of docs/ show is what the command prints, and documents agree with the code.

Every fenced block marked `console` is run: a line that begins with `$ ` is a command for bash in the repository's root, the lines below it
are what it prints on stdout; a last line `...` stands for the paragraphs that follow. Each command must end with 0 (the exit code of one
that does not is shown by `echo`). Blocks marked `bash` install things: `.ci/run` runs the second, a fresh machine the first. Blocks marked
`text` show forms of the command, with scripts that are not there.

The documents show what torch `SHOWN_TORCH` gives. Other versions issue slightly different operators; there, the commands are only run.

    python tests/e2e/test_readme.py                # write what the commands print now into the documents
    python tests/e2e/test_readme.py README.md      # into this one
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from fakerun.errors import ExitCode
from fakerun.hardware.catalogue import accelerator_names
from fakerun.job.check_file import load_jobs
from fakerun.job.yaml_job import JobFile, load_job

ROOT = Path(__file__).resolve().parents[2]
SHOWN_TORCH = "2.13"
REST = "\n\n...\n"
DOCUMENTS = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_BUILD = re.compile(r"(?<=torch \d\.\d\d\.\d)[+\w.]*")
"""What the version of torch says of its build: `+cpu`, `+cu130`."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command of a document and what it is said to print, each as it is written there."""

    document: str
    command: str
    output: str

    def expected(self, printed: str) -> str:
        """What the document should show of what was printed: where it shows the beginning, as many paragraphs as it shows now."""
        text = "".join(f"{line.rstrip()}\n" for line in _BUILD.sub("", printed).splitlines())
        if not self.output.endswith(REST):
            return text
        return "\n\n".join(text.split("\n\n")[: self.output.count("\n\n")]) + REST


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return [block["text"] for block in _BLOCK.finditer(text_of(document)) if block["language"] == language]


def examples(document: str) -> Iterator[Example]:
    for text in blocks(document, "console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Example(document=document, command=command, output=output)


EXAMPLES = [example for document in DOCUMENTS for example in examples(document)]


def run(command: str) -> "subprocess.CompletedProcess[str]":
    """The command as a reader runs it: in bash, in the repository's root, with the `fakerun` of this environment and nothing preset."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAKERUN_", "PET_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.document}: {example.command.split('|')[0].strip()}")
def test_examples_print_what_is_shown(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # run directories go with the test
    result = run(example.command)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    if version("torch").startswith(f"{SHOWN_TORCH}."):
        assert example.output == example.expected(result.stdout), (
            f"to refresh it: python {Path(__file__).relative_to(ROOT)} {example.document}"
        )


def test_job_files_are_valid(tmp_path: Path) -> None:
    single, several = blocks("docs/job_files.md", "yaml")
    file = tmp_path / "configs" / "job.yaml"
    file.parent.mkdir()
    file.write_text(single, encoding="utf-8")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    assert load_job(file).resolve().world_size == 8
    (tmp_path / "fakerun.yaml").write_text(several, encoding="utf-8")
    (tmp_path / "train.py").touch()
    names = [job.name for job in load_jobs(tmp_path / "fakerun.yaml")]
    described = re.findall(r"`(sweep\[\S+?\])`", text_of("docs/job_files.md"))
    assert names == ["pretrain", *described]


def test_first_command_ends_with_the_first_example() -> None:
    install_and_run, _ = blocks("README.md", "bash")
    assert install_and_run.strip() == f"pip install . && {EXAMPLES[0].command}"


def test_ci_runs_the_test_command() -> None:
    _, install_and_test = blocks("README.md", "bash")
    assert f'bash -c "{install_and_test.strip()}"\n' in text_of(".ci/run")


def test_ci_installs_the_shown_torch() -> None:
    assert f'\npip install "torch${{TORCH-=={SHOWN_TORCH}.' in text_of(".ci/run")


def test_options_list_the_hardware() -> None:
    (row,) = re.findall(r"^\| `--hardware NAME\[,KEY=VALUE\]` \|(.*)", text_of("docs/command_line.md"), re.MULTILINE)
    names, _, _ = row.partition(". ")
    assert re.findall(r"[\w-]*\d[\w-]*", names) == list(accelerator_names())


@pytest.mark.parametrize("document", ["README.md", "docs/command_line.md"])
def test_exit_codes_are_listed(document: str) -> None:
    assert re.findall(r"^\| (\d+) \|", text_of(document), re.MULTILINE) == [str(int(code)) for code in ExitCode]


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) < 150


def test_job_files_list_every_key() -> None:
    (table,) = re.findall(r"^## Keys$(.*?)^The whole file", text_of("docs/job_files.md"), re.MULTILINE | re.DOTALL)
    named = [name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(JobFile.model_fields)


def test_every_page_is_in_the_navigation() -> None:
    site = tomllib.loads(text_of("zensical.toml"))["project"]
    pages = [page for entry in site["nav"] for page in entry.values()]
    assert sorted(f"docs/{page}" for page in pages) == sorted(set(DOCUMENTS) - {"README.md"})


def test_map_shows_every_room() -> None:
    paths = (ROOT / "fakerun").iterdir()
    rooms = {path.name for path in paths if path.suffix == ".py" or any(path.glob("*.py"))} - {"__init__.py", "__main__.py"}
    assert sorted(rooms) == sorted(re.findall(r"^  ([\w.]+?)/?  ", text_of("CONTRIBUTING.md"), re.MULTILINE))


def refresh(document: str) -> None:
    """Write what the commands print now into the document."""
    text = text_of(document)
    for example in examples(document):
        result = run(example.command)
        if result.returncode != 0:
            sys.exit(f"{example.command} ended with {result.returncode}:\n{result.stderr}")
        shown = f"$ {example.command}\n"
        text = text.replace(shown + example.output, shown + example.expected(result.stdout))
    (ROOT / document).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for each in sys.argv[1:] or DOCUMENTS:
        refresh(each)
