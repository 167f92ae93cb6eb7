"""torchtitan as it is installed, unmodified: what it communicates and holds, against closed formulas.

`pip install '.[libraries]'` brings it. Its tokenizer and data are made here: nothing is downloaded.
"""

import json
import random
from pathlib import Path

import pytest
import torch.distributed as dist

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.collective import CollectiveOp
from fakerun.records.memory import Category
from fakerun.records.run import RankRecord
from tests.commands import dry_run

pytest.importorskip("torchtitan")

pytestmark = pytest.mark.skipif(not hasattr(dist, "set_timeout"), reason="torchtitan 0.3.0 needs torch 2.15 (set_timeout)")

WORDS = [f"word{number}" for number in range(500)]
RANKS, BATCH, LENGTH = 8, 2, 256
STEPS = 3

DIM, VOCABULARY = 256, 2048
"""Both debug models."""

LAYERS, LAYER = 6, 852_480
"""Llama 3 debug: layers, parameters of one."""

MOE_LAYERS, CHOICES = 5, 3
"""DeepSeek-V3 debug: layers with routed experts, experts that a token chooses."""


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word-level tokenizer in `tokenizer`, documents in `data`."""
    directory = tmp_path_factory.mktemp("torchtitan")
    (directory / "tokenizer").mkdir()
    (directory / "data").mkdir()
    vocabulary = {word: number for number, word in enumerate(("<unk>", "<s>", "</s>", *WORDS))}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (directory / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (directory / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(special))
    chosen = random.Random(0)
    documents = (json.dumps({"text": " ".join(chosen.choices(WORDS, k=LENGTH))}) for _ in range(200))
    (directory / "data" / "data.jsonl").write_text("\n".join(documents))
    return directory


@pytest.fixture
def trained(assets: Path, monkeypatch: pytest.MonkeyPatch) -> "Trained":
    monkeypatch.setenv("HF_HOME", str(assets / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Trained(assets)


class Trained:
    """Runs torchtitan's trainer on rank 0 of 8."""

    def __init__(self, assets: Path) -> None:
        self._assets = assets

    def __call__(self, module: str, config: str, *arguments: str) -> RankRecord:
        training = ("--training.local-batch-size", str(BATCH), "--training.seq-len", str(LENGTH), "--training.steps", str(STEPS))
        data = ("--dataloader.dataset", "c4_test", "--dataloader.dataset-path", str(self._assets / "data"))
        places = ("--hf-assets-path", str(self._assets / "tokenizer"), "--dump-folder", str(self._assets / "outputs"))
        fakerun = ("--nproc-per-node", str(RANKS), "--steps", str(STEPS), "-m", "torchtitan.train")
        return dry_run(*fakerun, "--module", module, "--config", config, *training, *data, *places, *arguments)[0].record


def sent(record: RankRecord, step: int, group: str, op: CollectiveOp, dtype: str) -> int:
    """Bytes that a step's calls of one kind carry."""
    calls = (call for call in record.collectives if (call.step, call.group, call.op, call.dtype) == (step, group, op, dtype))
    return sum(call.nbytes for call in calls)


def test_llama_under_fsdp(trained: Trained) -> None:
    record = trained("llama3", "llama3_debugmodel")
    embedding, head = VOCABULARY * DIM, VOCABULARY * DIM + DIM
    parameters = LAYERS * LAYER + embedding + head
    assert record.steps == STEPS
    for step in range(STEPS):
        assert sent(record, step, "world", CollectiveOp.REDUCE_SCATTER_TENSOR, "float32") == 4 * parameters
    # A step's forward and backward are captured in a CUDA graph in step 1, and replayed in step 2. The head is gathered for the loss too.
    for step in range(1, STEPS):
        gathered = 2 * (LAYERS * LAYER) + 2 * embedding + 3 * head
        assert sent(record, step, "world", CollectiveOp.ALL_GATHER_INTO_TENSOR, "bfloat16") == 2 * gathered
    blocks = [block for block in timeline_of(record.program).blocks if block.category is Category.OPTIMIZER_STATE and block.shape]
    assert sum(block.requested_bytes for block in blocks) == 2 * 4 * parameters // RANKS


def test_experts_of_deepseek(trained: Trained) -> None:
    record = trained("deepseek_v3", "deepseek_v3_debugmodel", "--parallelism.expert-parallel-degree", "4", "--training.disable-cuda-graphs")
    tokens = BATCH * LENGTH * CHOICES * DIM * 2
    for step in range(STEPS):
        # There and back; in forward, in its recomputation, and in backward.
        assert sent(record, step, "ep", CollectiveOp.ALL_TO_ALL, "bfloat16") == MOE_LAYERS * 2 * 3 * tokens
