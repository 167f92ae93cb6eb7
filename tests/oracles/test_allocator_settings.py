"""PYTORCH_ALLOC_CONF against torch itself: whether its parser takes a text, what it says otherwise, and the divisions that it sets.

torch keeps the settings of a process. So it is asked in a process of its own, which forks from this one.
"""

import ctypes
import json
import os
import random
from pathlib import Path

import pytest
import torch

from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.sizes import DIVISION_INTERVALS, MIB

VERSION = (int(torch.__version__.split(".")[0]), int(torch.__version__.split(".")[1]))
HAS_CUDA = torch.version.cuda is not None
"""A build without CUDA does not know the keys of CUDA, and takes any key."""
DIVISIONS_OF_SIZE = "_ZN3c1016CachingAllocator26AcceleratorAllocatorConfig24roundup_power2_divisionsEm"

COMMON_KEYS = {
    "expandable_segments": ("True", "False", "true", "", "[True]"),
    "max_split_size_mb": ("20", "19", "64", "40x", "-1", "abc", "99999999999999999999999", ""),
    "max_non_split_rounding_mb": ("20", "10", "100"),
    "large_segment_size_mb": ("20", "10", "11", "40", "x"),
    "garbage_collection_threshold": ("0.5", "0", "1", ".9", "abc", "nan", "1e999"),
    "roundup_power2_divisions": (
        *("4", "3", "0", "1", "[256:1,512:2,1024:4,>:8]", "[512:2,256:4]", "[>:8]", "[255:1]", "[64:3]", "[]", "[64]", "[abc:8]"),
        *("[131072:16]", "[64:8,]", "[64:8 128:2]", "[,64:8]", "["),
    ),
    "pinned_use_background_threads": ("True", "x"),
}
CUDA_KEYS = {
    "release_lock_on_cudamalloc": ("True", "yes"),
    "release_lock_on_hipmalloc": ("False", "1"),
    "pinned_use_cuda_host_register": ("True", "1"),
    "pinned_num_register_threads": ("8", "3", "256", "0"),
    "pinned_reserve_segment_size_mb": ("0", "256"),
    "graph_capture_record_stream_reuse": ("True", "x"),
    "per_process_memory_fraction": ("0.5", "0", "1.5", "-1", "nan"),
    "pinned_free_catch_all": ("True", "x"),
    "throw_on_cudamalloc_oom": ("True", "x"),
    "pinned_max_round_threshold_mb": ("5", "x"),
    "backend": ("native", "foo"),
    "unknown": ("1", ""),
    "": ("True",),
}


def texts() -> list[str]:
    """Every value alone, and values of several keys at random; the order matters, since some settings stay."""
    keys = COMMON_KEYS | (CUDA_KEYS if HAS_CUDA else {})
    pairs = [f"{key}:{value}" for key, values in keys.items() for value in values]
    chance = random.Random(0)
    several = [",".join(chance.sample(pairs, chance.choice((2, 2, 3)))) for _ in range(600)]
    spelled = [
        "expandable_segments : True , max_split_size_mb : 64,",
        ",expandable_segments:True",
        "expandable_segments:True:False",
        "expandable_segments",
    ]
    return [*pairs, *(spelled if HAS_CUDA else spelled[:1]), *several]


def answers_of_torch(asked: list[str]) -> list[tuple[str | None, list[int]]]:
    """What torch says of each text, or None, and its divisions of 1 MiB, 2 MiB and so on; in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        answers = []
        for text in asked:
            try:
                torch._C._accelerator_setAllocatorSettings(text)
                said = None
            except Exception as error:
                said = str(error).splitlines()[0].rstrip()
                torch._C._accelerator_setAllocatorSettings("large_segment_size_mb:20")  # what came before the error stays
            answers.append((said, divisions_of_torch()))
        with os.fdopen(write, "w") as pipe:
            json.dump(answers, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answers = json.load(pipe)
    os.waitpid(child, 0)
    return [(said, divisions) for said, divisions in answers]


def divisions_of_torch() -> list[int]:
    function = getattr(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so")), DIVISIONS_OF_SIZE)
    function.restype, function.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
    return [function(MIB << power) for power in range(DIVISION_INTERVALS)]


@pytest.mark.skipif(not hasattr(torch._C, "_accelerator_setAllocatorSettings"), reason="this torch does not take settings")
def test_settings_are_read_as_torch_reads_them() -> None:
    settings = AllocatorSettings(torch_version=VERSION)
    asked = texts()
    accepted = 0
    for text, (said, divisions) in zip(asked, answers_of_torch(asked), strict=True):
        settings, refusal = updated(settings, text)
        if said is None or refusal is None:
            assert (text, refusal) == (text, said)
            assert list(settings.roundup_power2_divisions) == divisions, text
            accepted += 1
        else:
            assert said.endswith(refusal), (text, said, refusal)  # torch's internal assertions say where they are, too
    assert len(asked) // 10 < accepted < len(asked)


def updated(settings: AllocatorSettings, text: str) -> tuple[AllocatorSettings, str | None]:
    """The settings after a text, or those of the beginning and why it is refused."""
    try:
        return settings.updated(text), None
    except ValueError as refused:
        return AllocatorSettings(torch_version=VERSION), str(refused).rstrip()
