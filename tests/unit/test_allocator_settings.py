"""PYTORCH_ALLOC_CONF as torch reads it. `tests/oracles/test_allocator_settings.py` asks torch itself."""

import re

import pytest

from fakerun.allocator.settings import UNLIMITED, AllocatorSettings
from fakerun.allocator.sizes import MIB


def test_every_key_is_read() -> None:
    text = (
        "expandable_segments:True, large_segment_size_mb:24,max_split_size_mb:64,max_non_split_rounding_mb:32,roundup_power2_divisions:8,"
        "garbage_collection_threshold:0.75,backend:cudaMallocAsync,release_lock_on_cudamalloc:True,graph_capture_record_stream_reuse:True,"
        "per_process_memory_fraction:0.5,throw_on_cudamalloc_oom:True,pinned_use_cuda_host_register:True,pinned_num_register_threads:8,"
        "pinned_reserve_segment_size_mb:256,pinned_use_background_threads:True,pinned_free_catch_all:True,pinned_max_round_threshold_mb:5,"
        "pinned_max_cached_size_mb:6"
    )
    settings = AllocatorSettings.parse(text)
    assert settings == AllocatorSettings(
        expandable_segments=True,
        large_segment_bytes=24 * MIB,
        max_split_size_bytes=64 * MIB,
        max_non_split_rounding_bytes=32 * MIB,
        roundup_power2_divisions=(8,) * 16,
        garbage_collection_threshold=0.75,
        backend="cudaMallocAsync",
        release_lock_on_cudamalloc=True,
        graph_capture_record_stream_reuse=True,
        per_process_memory_fraction=0.5,
        throw_on_cudamalloc_oom=True,
        pinned_use_cuda_host_register=True,
        pinned_num_register_threads=8,
        pinned_reserve_segment_size_mb=256,
        pinned_use_background_threads=True,
        pinned_free_catch_all=True,
        pinned_max_round_threshold_mb=5,
        pinned_max_cached_size_mb=6,
    )
    assert settings.text == text.replace(" ", "")
    assert AllocatorSettings().text == ""


@pytest.mark.parametrize(
    ("divisions", "numbers"),
    [
        # As the builds of torch 2.11, 2.13 and 2.14.1 answer (AcceleratorAllocatorConfig::roundup_power2_divisions), from 1 MiB on.
        ("[256:1,512:2,1024:4,>:8]", (1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 8, 8, 8, 8)),
        ("[512:2,256:4]", (2, 2, 2, 2, 2, 2, 2, 2, 4, 2, 0, 0, 0, 0, 0, 0)),
        ("[>:8]", (0, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8)),
        ("[131072:16]", (16,) * 16),
        ("[64:8,128:2,256:2,512:2,1024:1,>:1]", (8, 8, 8, 8, 8, 8, 8, 2, 2, 2, 1, 1, 1, 1, 1, 1)),
        ("[1:4,2:8]", (4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
        ("[]", (0,) * 16),
        ("4", (4,) * 16),
    ],
)
def test_divisions(divisions: str, numbers: tuple[int, ...]) -> None:
    settings = AllocatorSettings.parse(f"roundup_power2_divisions:{divisions}")
    assert settings.roundup_power2_divisions == numbers
    assert AllocatorSettings.parse(settings.text) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Observed of torch 2.14.1, and but for `throw_on_cudamalloc_oom` and some `pinned_*` of 2.11.
        ("expandable_segments:true", "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got 'true'"),
        (
            "expandable_segments:True max_split_size_mb:64",
            "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got 'Truemax_split_size_mb'",
        ),
        ("expandable_segments:[True]", "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got '['"),
        ("expandable_segments::True", "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got ':'"),
        ("expandable_segments:True:False", "Unrecognized key 'False' in Accelerator allocator config."),
        ("expandable_segments=True", "Unrecognized key 'expandable_segments=True' in Accelerator allocator config."),
        ("expandable_segments", "Index out of bounds in ConfigTokenizer"),
        (",expandable_segments:True", "Unrecognized key ',' in Accelerator allocator config."),
        ("unknown", "Unrecognized key 'unknown' in Accelerator allocator config."),
        ("unknown:1,max_split_size_mb:19", "Unrecognized key 'unknown' in Accelerator allocator config."),
        ("unknown:1,large_segment_size_mb:3", "CachingAllocator option large_segment_size_mb must be > 10 MB"),
        ("large_segment_size_mb:40,large_segment_size_mb:3", "CachingAllocator option large_segment_size_mb must be > 10 MB"),
        ("max_split_size_mb:19", "CachingAllocator option max_split_size_mb too small, must be >= 20"),
        ("max_split_size_mb:30,large_segment_size_mb:40", "CachingAllocator option max_split_size_mb too small, must be >= 40"),
        ("max_non_split_rounding_mb:10", "CachingAllocator option max_non_split_rounding_mb too small, must be >= 20"),
        ("max_split_size_mb:abc", "stoull"),
        ("max_split_size_mb:99999999999999999999999", "stoull"),
        ("max_split_size_mb:", "Index out of bounds in ConfigTokenizer"),
        ("garbage_collection_threshold:0", "garbage_collect_threshold is invalid, set it in (0.0, 1.0)"),
        ("garbage_collection_threshold:1.0", "garbage_collect_threshold is invalid, set it in (0.0, 1.0)"),
        ("garbage_collection_threshold:nan", "garbage_collect_threshold is invalid, set it in (0.0, 1.0)"),
        ("garbage_collection_threshold:1e999", "stod"),
        ("garbage_collection_threshold:abc", "stod"),
        ("roundup_power2_divisions:3", "For roundups, the divisions has to be power of 2 "),
        ("roundup_power2_divisions:0", "For roundups, the divisions has to be power of 2 "),
        ("roundup_power2_divisions:[256:1,512:3]", "For roundups, the divisions has to be power of 2 or 0 to disable roundup "),
        ("roundup_power2_divisions:[255:1]", "For roundups, the intervals have to be power of 2 "),
        ("roundup_power2_divisions:[abc:8]", "stoull"),
        ("roundup_power2_divisions:[64]", "Index out of bounds in ConfigTokenizer"),
        ("roundup_power2_divisions:[64:8", "Index out of bounds in ConfigTokenizer"),
        ("roundup_power2_divisions:[", "Expected closing bracket ']' in ConfigTokenizer but reached end of config"),
        ("backend:foo", "Unknown allocator backend, options are native and cudaMallocAsync"),
        ("backend:foo,max_split_size_mb:19", "CachingAllocator option max_split_size_mb too small, must be >= 20"),
        ("pinned_num_register_threads:3", "Number of register threads has to be power of 2, got 3"),
        ("pinned_num_register_threads:256", "Number of register threads should be less than or equal to 128, got 256"),
        ("pinned_reserve_segment_size_mb:0", "Pinned reserve segment size has to be greater than 0"),
        ("per_process_memory_fraction:1.5", "per_process_memory_fraction is invalid, set it in [0.0, 1.0]"),
        ("per_process_memory_fraction:-1", "per_process_memory_fraction is invalid, set it in [0.0, 1.0]"),
    ],
)
def test_bad_values_are_refused_in_torchs_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AllocatorSettings.parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("expandable_segments : True , max_split_size_mb : 64,", "expandable_segments:True,max_split_size_mb:64"),
        ("max_split_size_mb:64,max_split_size_mb:128", "max_split_size_mb:128"),
        ("max_split_size_mb:40x", "max_split_size_mb:40"),
        ("max_split_size_mb:40.7", "max_split_size_mb:40"),
        ("max_split_size_mb:+40", "max_split_size_mb:40"),
        ("max_split_size_mb:-1", "max_split_size_mb:17592186044415"),
        ("garbage_collection_threshold:.5e0abc", "garbage_collection_threshold:0.5"),
        (
            "release_lock_on_hipmalloc:True,pinned_use_hip_host_register:True",
            "release_lock_on_cudamalloc:True,pinned_use_cuda_host_register:True",
        ),
        ("roundup_power2_divisions:[64:8,]", "roundup_power2_divisions:[64:8,>:0]"),
        ("per_process_memory_fraction:1", ""),
    ],
)
def test_texts_are_read_as_torch_reads_them(text: str, canonical: str) -> None:
    assert AllocatorSettings.parse(text).text == canonical


@pytest.mark.parametrize("key", ["throw_on_cudamalloc_oom", "pinned_free_catch_all"])
def test_torch_2_11_lacks_keys(key: str) -> None:
    assert AllocatorSettings.parse(f"{key}:True", (2, 13)).text == f"{key}:True"
    with pytest.raises(ValueError, match=f"Unrecognized key '{key}' in Accelerator allocator config."):
        AllocatorSettings.parse(f"{key}:True", (2, 11))


def test_an_update_resets_some_settings_only() -> None:
    """Read from the memory of torch 2.11 and 2.14.1 after `_set_allocator_settings`."""
    first = AllocatorSettings.parse(
        "expandable_segments:True,max_split_size_mb:64,max_non_split_rounding_mb:30,garbage_collection_threshold:0.5,"
        "roundup_power2_divisions:4,per_process_memory_fraction:0.5"
    )
    second = first.updated("large_segment_size_mb:40")
    assert second.text == "expandable_segments:True,large_segment_size_mb:40,per_process_memory_fraction:0.5"
    assert (second.max_split_size_bytes, second.max_non_split_rounding_bytes) == (UNLIMITED, 40 * MIB)
    assert second.updated("") == second
    with pytest.raises(ValueError, match="must be >= 40"):
        second.updated("max_split_size_mb:30")


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, ""),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, "max_split_size_mb:64"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64", "PYTORCH_ALLOC_CONF": "max_split_size_mb:19"}, "max_split_size_mb:64"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "", "PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, ""),
    ],
)
def test_the_variable_of_cuda_wins(environment: dict[str, str], text: str) -> None:
    """Observed of torch 2.14.1."""
    assert AllocatorSettings.from_environment(environment).text == text
