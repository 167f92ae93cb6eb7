"""Hugging Face accelerate with its FSDP plugin, FSDP1 or FSDP2, on a small Llama of transformers."""

import argparse
import tempfile

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch.utils.data import DataLoader, TensorDataset
from transformers import LlamaConfig, LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--fsdp-version", type=int, default=2)
parser.add_argument("--mixed-precision", default="bf16")
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--checkpointing", action="store_true")
parser.add_argument("--cpu-offload", action="store_true")
parser.add_argument("--save", choices=("no", "SHARDED_STATE_DICT", "FULL_STATE_DICT"), default="no")
args = parser.parse_args()

plugin = FullyShardedDataParallelPlugin(
    fsdp_version=args.fsdp_version,
    use_orig_params=True if args.fsdp_version == 1 else None,
    auto_wrap_policy="transformer_based_wrap",
    transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
    activation_checkpointing=args.checkpointing,
    cpu_offload=args.cpu_offload,
    state_dict_type=None if args.save == "no" else args.save,
)
accelerator = Accelerator(fsdp_plugin=plugin, mixed_precision=args.mixed_precision, gradient_accumulation_steps=args.accumulate)
config = LlamaConfig(
    vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128
)
model = LlamaForCausalLM(config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
tokens = TensorDataset(torch.randint(0, 512, (256, 32)))
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(tokens, batch_size=4, shuffle=True))

for _ in range(4):
    for (batch,) in loader:
        with accelerator.accumulate(model):
            loss = model(input_ids=batch, labels=batch).loss
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            accelerator.print(f"loss {accelerator.gather(loss.detach()).mean().item():.3f}")
    if args.save != "no":
        accelerator.save_state(tempfile.mkdtemp())
        accelerator.get_state_dict(model)
accelerator.end_training()
