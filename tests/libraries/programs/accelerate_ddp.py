"""Hugging Face accelerate: the plain loop of its examples, DDP with gradient accumulation, mixed precision, metrics and checkpoints."""

import argparse
import tempfile

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--mixed-precision", default="no")
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--save", action="store_true")
args = parser.parse_args()

accelerator = Accelerator(mixed_precision=args.mixed_precision, gradient_accumulation_steps=args.accumulate)
torch.manual_seed(0)
data = TensorDataset(torch.randn(512, 32), torch.randint(0, 10, (512,)))
train_loader = DataLoader(data, batch_size=8, shuffle=True, num_workers=1)
eval_loader = DataLoader(data, batch_size=8)
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=64)
model, optimizer, train_loader, eval_loader, scheduler = accelerator.prepare(model, optimizer, train_loader, eval_loader, scheduler)

for epoch in range(2):
    model.train()
    for batch, labels in train_loader:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(batch), labels)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    model.eval()
    correct = 0
    for batch, labels in eval_loader:
        with torch.no_grad():
            predictions = model(batch).argmax(-1)
        predictions, labels = accelerator.gather_for_metrics((predictions, labels))
        correct += int((predictions == labels).sum())
    accelerator.print(f"epoch {epoch}: {correct} of {len(data)}, loss {accelerator.reduce(loss.detach(), 'mean').item()}")
    if args.save:
        accelerator.save_state(tempfile.mkdtemp())
accelerator.wait_for_everyone()
accelerator.end_training()
