"""AllocatorSettings: what PYTORCH_ALLOC_CONF, or PYTORCH_CUDA_ALLOC_CONF, says, read as torch reads it.

Syntax, keys and messages: `ConfigTokenizer` and `AcceleratorAllocatorConfig::parseArgs` (c10/core/AllocatorConfig.{h,cpp}),
`CUDAAllocatorConfig::parseArgs` (c10/cuda/CUDAAllocatorConfig.cpp), as torch 2.11, 2.13 and 2.14.1 answer. The text is read three times:
for `large_segment_size_mb`, for the keys of all accelerators, and for those of CUDA. Separators are not checked, and a number ends where
its digits end, as in C. Errors of torch that are no ValueError there, since a token is missing or a number too large, are one here.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fakerun.allocator.sizes import DIVISION_INTERVALS, MIB, SMALLEST_OWN_SEGMENT_BYTES

TorchVersion = tuple[int, int]
"""Major and minor."""
LATEST: TorchVersion = (2, 14)
"""The last version that was looked at; later ones are taken to be like it."""

UNLIMITED = 2**64 - 1
"""`max_split_size` where nobody limits it: the largest value of C's `size_t`."""
_MOST_MIB = UNLIMITED // MIB
_MOST_REGISTER_THREADS = 128

_SINCE: Mapping[str, TorchVersion] = {
    "throw_on_cudamalloc_oom": (2, 12),  # pull request 179473, in the notes of 2.12
    # In the headers of 2.13, and not of 2.11; 2.12 was not seen.
    "pinned_free_catch_all": (2, 13),
    "pinned_max_round_threshold_mb": (2, 13),
    "pinned_max_cached_size_mb": (2, 13),
}
"""Keys that not every torch from 2.11 on has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorSettings:
    """The settings of the allocator of device memory, and of that of pinned host memory (`pinned_*`), which takes none of a device.

    `roundup_power2_divisions[k]` is for sizes from `2**k` MiB on: 0 or 1 is off. `max_non_split_rounding_bytes` is by how much a block
    may exceed a request of at least `max_split_size_bytes`. `torch_version` says which keys there are.
    """

    expandable_segments: bool = False
    large_segment_bytes: int = 20 * MIB
    max_split_size_bytes: int = UNLIMITED
    max_non_split_rounding_bytes: int = 20 * MIB
    roundup_power2_divisions: tuple[int, ...] = (0,) * DIVISION_INTERVALS
    garbage_collection_threshold: float = 0.0
    backend: str = "native"
    release_lock_on_cudamalloc: bool = False
    graph_capture_record_stream_reuse: bool = False
    per_process_memory_fraction: float = 1.0
    throw_on_cudamalloc_oom: bool = False
    pinned_use_cuda_host_register: bool = False
    pinned_num_register_threads: int = 1
    pinned_reserve_segment_size_mb: int = 0
    pinned_use_background_threads: bool = False
    pinned_free_catch_all: bool = False
    pinned_max_round_threshold_mb: int = _MOST_MIB
    pinned_max_cached_size_mb: int = _MOST_MIB
    torch_version: TorchVersion = field(default=LATEST, compare=False)

    @classmethod
    def parse(cls, text: str, torch_version: TorchVersion = LATEST) -> "AllocatorSettings":
        """The settings of a process that starts with this text.

        Raises:
            ValueError: torch refuses the text; the message is torch's.
        """
        return cls(torch_version=torch_version).updated(text)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], torch_version: TorchVersion = LATEST) -> "AllocatorSettings":
        """As torch reads the variables at its import: that of CUDA wins wherever it is set, even to nothing.

        Raises:
            ValueError: as of `parse`.
        """
        variables = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
        return cls.parse(next((environment[name] for name in variables if name in environment), ""), torch_version)

    def updated(self, text: str) -> "AllocatorSettings":
        """After `torch.cuda.memory._set_allocator_settings(text)`.

        A text always replaces `max_split_size_mb`, `max_non_split_rounding_mb`, `roundup_power2_divisions` and
        `garbage_collection_threshold`, by their defaults where it has none; other settings stay unless it has them.

        Raises:
            ValueError: as of `parse`.
        """
        reader = _Reader(text)
        large_segment_bytes = reader.large_segment_bytes(self.large_segment_bytes)
        reader.values |= {
            "large_segment_bytes": large_segment_bytes,
            "max_split_size_bytes": UNLIMITED,
            "max_non_split_rounding_bytes": large_segment_bytes,
            "roundup_power2_divisions": (0,) * DIVISION_INTERVALS,
            "garbage_collection_threshold": 0.0,
        }
        reader.read(_ACCELERATOR_KEYS, known=self._keys())
        reader.read(_CUDA_KEYS)
        return replace(self, **reader.values)

    def _keys(self) -> frozenset[str]:
        keys = {"large_segment_size_mb", *_ACCELERATOR_KEYS, *_CUDA_KEYS}
        return frozenset(key for key in keys if _SINCE.get(key, (0, 0)) <= self.torch_version)

    @property
    def text(self) -> str:
        """The shortest text that sets them from the defaults, in a fixed order of keys; empty for the defaults."""
        default = AllocatorSettings(max_non_split_rounding_bytes=self.large_segment_bytes)
        return ",".join(
            f"{_KEY_OF_FIELD.get(name, name)}:{_as_text(name, getattr(self, name))}"
            for name in (item.name for item in fields(self) if item.compare)
            if getattr(self, name) != getattr(default, name)
        )

    @property
    def divisions(self) -> tuple[int, ...] | None:
        """`roundup_power2_divisions`, or None where they change nothing."""
        return self.roundup_power2_divisions if max(self.roundup_power2_divisions) > 1 else None

    def as_torch(self) -> dict[str, Any]:
        """The `allocator_settings` of a memory snapshot (`THCPModule_memorySnapshot`, torch/csrc/cuda/Module.cpp)."""
        return {
            "PYTORCH_CUDA_ALLOC_CONF": self.text,
            "max_split_size": -1 if self.max_split_size_bytes == UNLIMITED else self.max_split_size_bytes,
            "garbage_collection_threshold": self.garbage_collection_threshold,
            "expandable_segments": self.expandable_segments,
            "pinned_num_register_threads": self.pinned_num_register_threads,
            "release_lock_on_cudamalloc": self.release_lock_on_cudamalloc,
            "pinned_use_cuda_host_register": self.pinned_use_cuda_host_register,
            "graph_capture_record_stream_reuse": self.graph_capture_record_stream_reuse,
            "roundup_power2_divisions": {str(1 << interval): steps for interval, steps in enumerate(self.roundup_power2_divisions)},
        }


_KEY_OF_FIELD = {
    "large_segment_bytes": "large_segment_size_mb",
    "max_split_size_bytes": "max_split_size_mb",
    "max_non_split_rounding_bytes": "max_non_split_rounding_mb",
}


def _as_text(name: str, value: object) -> str:
    if name in _KEY_OF_FIELD and isinstance(value, int):
        return str(value // MIB)
    if isinstance(value, tuple):
        return _divisions_as_text(value)
    return str(value)


def _divisions_as_text(divisions: tuple[int, ...]) -> str:
    """`4`, or `[256:1,512:2,>:8]`: an interval for each change of the number; the last is that of all larger sizes."""
    if len(set(divisions)) == 1:
        return str(divisions[0]) if divisions[0] else "[>:0]"
    last = next(index for index in reversed(range(len(divisions))) if divisions[index] != divisions[-1])
    first = next(index for index in range(len(divisions)) if divisions[index + 1] != divisions[0])
    pairs = [f"{1 << index}:{divisions[index]}" for index in range(first, last + 1)]
    return f"[{','.join((*pairs, f'>:{divisions[-1]}'))}]"


_NO_BRACKET = "Expected closing bracket ']' in ConfigTokenizer but reached end of config"


class _Reader:
    """One text, its tokens, and the values read of them so far."""

    def __init__(self, text: str) -> None:
        # What torch takes for white space is what C's isspace does: no characters beyond ASCII.
        self._tokens: list[str] = re.findall(r"[,:\[\]]|[^,:\[\]]+", re.sub(r"[ \t\n\v\f\r]", "", text))
        self.values: dict[str, Any] = {}

    def large_segment_bytes(self, otherwise: int) -> int:
        """What the last `large_segment_size_mb` says, wherever it stands: torch looks for it first, since others are compared with it."""
        for index, key in enumerate(self._tokens):
            if key == "large_segment_size_mb":
                count = self.count(index + 2)
                if count <= SMALLEST_OWN_SEGMENT_BYTES // MIB:
                    raise ValueError(f"CachingAllocator option {key} must be > {SMALLEST_OWN_SEGMENT_BYTES // MIB} MB")
                otherwise = min(count, _MOST_MIB) * MIB
        return otherwise

    def read(self, keys: "Mapping[str, _Read]", known: frozenset[str] | None = None) -> None:
        """Read the values of these keys, and skip those of other keys; with `known` refuse keys that are not in it."""
        index = 0
        while index < len(self._tokens):
            key = self._tokens[index]
            if known is not None and key not in known:
                raise ValueError(f"Unrecognized key '{key}' in Accelerator allocator config.")
            index = keys[key](self, key, index + 2) if key in keys else self._end_of_value(index)
            index += 2  # and the separator

    def _end_of_value(self, key_index: int) -> int:
        """The index of the last token of a value that is not read (`ConfigTokenizer::skipKey`)."""
        index = key_index + 2
        if self.token(index) == "[":
            while self.token(index, _NO_BRACKET) != "]":
                index += 1
        return index

    def token(self, index: int, otherwise: str = "Index out of bounds in ConfigTokenizer") -> str:
        if index >= len(self._tokens):
            raise ValueError(otherwise)
        return self._tokens[index]

    def boolean(self, index: int) -> bool:
        value = self.token(index)
        if value not in ("True", "False"):
            raise ValueError(f"Expected 'True' or 'False' at index {index} in ConfigTokenizer but got '{value}'")
        return value == "True"

    def count(self, index: int) -> int:
        """What C's strtoull makes of a token: a sign counts, what follows the digits does not, and -1 is the largest number."""
        number = re.match(r"[+-]?[0-9]+", self.token(index))
        if number is None or abs(int(number[0])) > UNLIMITED:
            raise ValueError("stoull")
        return int(number[0]) % (UNLIMITED + 1)

    def real(self, index: int) -> float:
        """What C's strtod makes of a token, without hexadecimal numbers."""
        number = re.match(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan)", self.token(index))
        if number is None or (math.isinf(float(number[0])) and "inf" not in number[0]):
            raise ValueError("stod")
        return float(number[0])


_Read = Callable[[_Reader, str, int], int]
"""Reads the value of a key, which begins at an index, into `values`; returns the index of its last token."""


def _read_size_limit(reader: _Reader, key: str, index: int) -> int:
    count, least = reader.count(index), reader.values["large_segment_bytes"] // MIB
    if count < least:
        raise ValueError(f"CachingAllocator option {key} too small, must be >= {least}")
    reader.values[key.removesuffix("_mb") + "_bytes"] = min(count, _MOST_MIB) * MIB
    return index


def _read_threshold(reader: _Reader, key: str, index: int) -> int:
    threshold = reader.real(index)
    if not 0.0 < threshold < 1.0:
        raise ValueError("garbage_collect_threshold is invalid, set it in (0.0, 1.0)")
    reader.values[key] = threshold
    return index


def _read_divisions(reader: _Reader, key: str, index: int) -> int:
    """One number for all sizes, or `[256:1,512:2,>:8]`: of intervals in MiB; the first is for all smaller sizes, too."""
    if reader.token(index) != "[":
        steps = reader.count(index)
        if steps.bit_count() != 1:
            raise ValueError("For roundups, the divisions has to be power of 2 ")
        reader.values[key] = (steps,) * DIVISION_INTERVALS
        return index
    divisions: list[int] = list(reader.values[key])
    last_interval: int | None = None
    index += 1
    while reader.token(index, _NO_BRACKET) != "]":
        text, steps = reader.token(index), reader.count(index + 2)
        if steps.bit_count() > 1:
            raise ValueError("For roundups, the divisions has to be power of 2 or 0 to disable roundup ")
        if text == ">":
            after = (last_interval or 0) + 1
            divisions[after:] = (steps,) * (DIVISION_INTERVALS - after)
        else:
            interval = _interval(reader.count(index))
            if last_interval is None:
                divisions[:interval] = (steps,) * interval
            divisions[interval] = steps
            last_interval = interval
        index += 3 if reader.token(index + 3) == "]" else 4
    reader.values[key] = tuple(divisions)
    return index


def _interval(size_mib: int) -> int:
    if size_mib.bit_count() != 1:
        raise ValueError("For roundups, the intervals have to be power of 2 ")
    return min(size_mib.bit_length() - 1, DIVISION_INTERVALS - 1)


def _read_boolean(reader: _Reader, key: str, index: int) -> int:
    reader.values[key.replace("_hip", "_cuda")] = reader.boolean(index)
    return index


def _read_count(reader: _Reader, key: str, index: int) -> int:
    reader.values[key] = min(reader.count(index), _MOST_MIB)
    return index


def _read_backend(reader: _Reader, key: str, index: int) -> int:
    if reader.token(index) not in ("native", "cudaMallocAsync"):
        raise ValueError("Unknown allocator backend, options are native and cudaMallocAsync")
    reader.values[key] = reader.token(index)
    return index


def _read_fraction(reader: _Reader, key: str, index: int) -> int:
    fraction = reader.real(index)
    if not 0.0 <= fraction <= 1.0:
        raise ValueError("per_process_memory_fraction is invalid, set it in [0.0, 1.0]")
    reader.values[key] = fraction
    return index


def _read_register_threads(reader: _Reader, key: str, index: int) -> int:
    threads = reader.count(index)
    if threads.bit_count() != 1:
        raise ValueError(f"Number of register threads has to be power of 2, got {threads}")
    if threads > _MOST_REGISTER_THREADS:
        raise ValueError(f"Number of register threads should be less than or equal to {_MOST_REGISTER_THREADS}, got {threads}")
    reader.values[key] = threads
    return index


def _read_reserve_segment(reader: _Reader, key: str, index: int) -> int:
    reader.values[key] = reader.count(index)
    if not reader.values[key]:
        raise ValueError("Pinned reserve segment size has to be greater than 0")
    return index


_ACCELERATOR_KEYS: Mapping[str, _Read] = {
    "max_split_size_mb": _read_size_limit,
    "max_non_split_rounding_mb": _read_size_limit,
    "garbage_collection_threshold": _read_threshold,
    "roundup_power2_divisions": _read_divisions,
    "expandable_segments": _read_boolean,
    "pinned_use_background_threads": _read_boolean,
    "pinned_max_round_threshold_mb": _read_count,
    "pinned_max_cached_size_mb": _read_count,
}
_CUDA_KEYS: Mapping[str, _Read] = {
    "backend": _read_backend,
    "release_lock_on_cudamalloc": _read_boolean,
    "release_lock_on_hipmalloc": _read_boolean,
    "graph_capture_record_stream_reuse": _read_boolean,
    "per_process_memory_fraction": _read_fraction,
    "throw_on_cudamalloc_oom": _read_boolean,
    "pinned_use_cuda_host_register": _read_boolean,
    "pinned_use_hip_host_register": _read_boolean,
    "pinned_num_register_threads": _read_register_threads,
    "pinned_reserve_segment_size_mb": _read_reserve_segment,
    "pinned_free_catch_all": _read_boolean,
}
