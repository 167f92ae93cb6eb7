"""Train a small GPT on one GPU. Each option follows a piece of advice on what would lower the memory."""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

WIDTH, LAYERS, VOCAB = 2048, 6, 64_000


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (-1, 64)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        hidden = self.up(self.norm2(x))
        hidden = functional.gelu(hidden)
        return x + self.down(hidden)


class GPT(nn.Module):
    def __init__(self, checkpointing: bool) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing else block(x)
        return self.head(x)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


def cross_entropy(logits: Tensor, labels: Tensor, chunks: int) -> Tensor:
    if not chunks:
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
    parts = zip(logits.flatten(0, 1).chunk(chunks), labels.flatten().chunk(chunks), strict=True)
    losses = [checkpoint(loss_of, part, label, use_reentrant=False) for part, label in parts]
    return torch.stack(losses).sum() / labels.numel()


def give_bfloat16_states(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Make the states of Adam where there are none yet, as `fused=True` does, but with averages in bfloat16."""
    for parameter in optimizer.param_groups[0]["params"]:
        if not optimizer.state[parameter]:
            averages = {name: torch.zeros_like(parameter, dtype=torch.bfloat16) for name in ("exp_avg", "exp_avg_sq")}
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter] = {"step": step, **averages}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=24_576)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--for-loop", action="store_true")
    parser.add_argument("--keep-gradients", action="store_true")
    parser.add_argument("--zero-grad-late", action="store_true")
    parser.add_argument("--delete-logits", choices=("after-loss", "after-step", "never"), default="after-loss")
    parser.add_argument("--bfloat16-states", action="store_true")
    parser.add_argument("--sgd", action="store_true")
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--autocast", action="store_true")
    args = parser.parse_args()

    model = GPT(args.checkpointing).cuda()
    if not args.autocast:
        model.bfloat16()
    foreach = False if args.for_loop else None
    optimizer: torch.optim.Optimizer
    if args.sgd:
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, weight_decay=0.1, nesterov=True, foreach=foreach)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), fused=args.fused or None, foreach=foreach)
    if args.bfloat16_states:
        optimizer.register_step_pre_hook(give_bfloat16_states)
    for _ in range(4):
        tokens = torch.randint(VOCAB, (2, args.tokens // 2 + 1), device="cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=args.autocast):
            logits = model(tokens[:, :-1])
            loss = cross_entropy(logits, tokens[:, 1:], args.chunks)
        if args.delete_logits == "after-loss":
            del logits
        if args.zero_grad_late:
            optimizer.zero_grad(set_to_none=not args.keep_gradients)
        loss.backward()
        optimizer.step()
        if not args.zero_grad_late:
            optimizer.zero_grad(set_to_none=not args.keep_gradients)
        if args.delete_logits == "after-step":
            del logits


if __name__ == "__main__":
    main()
