"""Files of baselines: reading one, writing one."""

from pathlib import Path

from fakerun.analysis.baseline.baseline import Baseline
from fakerun.analysis.baseline.text import baseline_text, parsed_baseline
from fakerun.errors import OutputError
from fakerun.files import write_whole
from fakerun.job.yaml_document import YamlDocument

_MOST_BYTES = 16 << 20


def load_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: it cannot be read, or is no baseline: every error, a line each.
    """
    return parsed_baseline(YamlDocument(path, most_bytes=_MOST_BYTES))


def write_baseline(path: Path, baseline: Baseline) -> bool:
    """Write a baseline, with the directories that lead to it; whether the file has changed.

    Raises:
        OutputError: it cannot be written.
    """
    data = baseline_text(baseline).encode()
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise OutputError.of(error, f"baseline {path}", "pass a file in a directory that can be written to") from error
    return True
