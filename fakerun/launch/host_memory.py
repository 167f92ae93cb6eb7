"""How much memory this machine still has for ranks."""

import re
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """What processes can still get, the page cache included: of the machine (proc_meminfo(5), MemAvailable), and of a container's limit.

    The limit is that of the root of the cgroup hierarchy as the process sees it (version 2); where there is none, it is the machine's.
    """
    (kilobytes,) = re.findall(r"^MemAvailable:\s+([0-9]+) kB", _MEMINFO.read_text(), re.MULTILINE)
    return min((int(kilobytes) * 1024, *_left_in_container()))


def _left_in_container() -> tuple[int, ...]:
    """Empty without a limit."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        (cache,) = re.findall(r"^inactive_file ([0-9]+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no cgroups, or "max"
        return ()
    return (max(0, limit - used + int(cache)),)
