"""Hugging Face `Trainer`: DDP, FSDP1 or FSDP2 of a small causal language model, with evaluation, checkpoints and logging."""

import argparse
import tempfile

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Trainer, TrainingArguments

parser = argparse.ArgumentParser()
parser.add_argument("--model", choices=("llama", "qwen", "gpt2"), default="llama")
parser.add_argument("--fsdp", choices=("none", "1", "2"), default="none")
parser.add_argument("--evaluate", action="store_true")
parser.add_argument("--save", action="store_true")
parser.add_argument("--checkpointing", action="store_true")
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--bf16", action="store_true")
args = parser.parse_args()

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
CONFIGS = {
    "llama": (LlamaConfig(vocab_size=512, **SHAPE), "LlamaDecoderLayer"),
    "qwen": (Qwen2Config(vocab_size=512, **SHAPE), "Qwen2DecoderLayer"),
    "gpt2": (GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=4, n_positions=64), "GPT2Block"),
}


class Sentences(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(0, 512, (32,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": tokens, "labels": tokens}


def accuracy(prediction: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(-1)[:, :-1] == labels[:, 1:]).mean())}


config, layer = CONFIGS[args.model]
fsdp_config = {"transformer_layer_cls_to_wrap": [layer], "version": int(args.fsdp)} if args.fsdp != "none" else None
training = TrainingArguments(
    output_dir=tempfile.mkdtemp(), max_steps=4, per_device_train_batch_size=4, gradient_accumulation_steps=args.accumulate,
    bf16=args.bf16, gradient_checkpointing=args.checkpointing, logging_steps=1, report_to="none",
    eval_strategy="steps" if args.evaluate else "no", eval_steps=2,
    save_strategy="steps" if args.save else "no", save_steps=2,
    fsdp="full_shard auto_wrap" if fsdp_config else "", fsdp_config=fsdp_config,
)  # fmt: skip
model = AutoModelForCausalLM.from_config(config)
trainer = Trainer(model=model, args=training, train_dataset=Sentences(), eval_dataset=Sentences(), compute_metrics=accuracy)
print(trainer.train())
