"""Four ranks exchange values that only they have, with every operation, and print what they receive.

The output is the same on GPUs, over gloo and in a dry run.
"""

import torch
import torch.distributed as dist

dist.init_process_group()
rank, size = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
if torch.cuda.is_available():
    torch.cuda.set_device(device)  # objects travel in tensors of the current device
left, right = (rank - 1) % size, (rank + 1) % size
pair = [dist.new_group([0, 1]), dist.new_group([2, 3])][rank // 2]


def say(what: str, value: object) -> None:
    print(what, value.tolist() if isinstance(value, torch.Tensor) else value, flush=True)


def own(*values: int) -> torch.Tensor:
    return torch.tensor(values, device=device)


# Objects
everything = [None] * size
dist.all_gather_object(everything, {"rank": rank, "name": "x" * rank})
say("all_gather_object", everything)
news = [f"from {rank}", rank]
dist.broadcast_object_list(news, src=2)
say("broadcast_object_list", news)
part = [None]
dist.scatter_object_list(part, [f"for {i}" for i in range(size)] if rank == 1 else None, src=1)
say("scatter_object_list", part)
gathered = [None] * size if rank == 3 else None
dist.gather_object((rank, rank**2), gathered, dst=3)
say("gather_object", gathered)
heard = [None, None]
if rank % 2:
    dist.send_object_list([rank, "odd"], dst=left)
else:
    dist.recv_object_list(heard, src=right)
say("recv_object_list", heard)

# Tensors whose values the host knows
for operation in (dist.ReduceOp.SUM, dist.ReduceOp.MAX, dist.ReduceOp.MIN, dist.ReduceOp.PRODUCT):
    votes = own(rank + 1, 10 * rank)
    dist.all_reduce(votes, op=operation)
    say(f"all_reduce {operation}", votes)
inner = own(rank)
dist.all_reduce(inner, group=pair)
say("all_reduce in pairs", inner)
lists = [own(0) for _ in range(size)]
dist.all_gather(lists, own(rank))
say("all_gather", torch.cat(lists))
flat = torch.empty(2 * size, dtype=torch.int64, device=device)
dist.all_gather_into_tensor(flat, own(rank, -rank))
say("all_gather_into_tensor", flat)
share = own(0)
dist.reduce_scatter_tensor(share, torch.arange(size, device=device) * (rank + 1))
say("reduce_scatter_tensor", share)
total = own(rank)
dist.reduce(total, dst=1)
say("reduce", total if rank == 1 else None)
seed = own(100 + rank)
dist.broadcast(seed, src=3)
say("broadcast", seed)
piece = own(0)
dist.scatter(piece, [own(7 * i) for i in range(size)] if rank == 2 else None, src=2)
say("scatter", piece)

# Counts first, then as much as they say
counts = torch.arange(size, device=device) + rank
expected = torch.empty_like(counts)
dist.all_to_all_single(expected, counts)
sent, received = counts.tolist(), expected.tolist()
rows = torch.full((sum(sent),), rank, device=device)
arrived = torch.empty(sum(received), dtype=rows.dtype, device=device)
dist.all_to_all_single(arrived, rows, received, sent)
say("all_to_all_single", arrived)

# Messages: both directions under way at once
token = torch.zeros(1, dtype=torch.int64, device=device)
for work in (dist.irecv(token, src=left), dist.isend(own(rank), dst=right)):
    work.wait()  # type: ignore[union-attr]  # None outside of the group
say("irecv and isend", token)
mailbox = torch.zeros(2, dtype=torch.int64, device=device)
for work in (dist.irecv(mailbox[1:], src=left), dist.isend(own(rank + 5), dst=right)):  # nothing else refers to that view
    work.wait()  # type: ignore[union-attr]
say("irecv into a part", mailbox)
incoming = torch.zeros(1, dtype=torch.int64, device=device)
works = dist.batch_isend_irecv([dist.P2POp(dist.isend, own(rank * 2), right), dist.P2POp(dist.irecv, incoming, left)])
for work in works:
    work.wait()
say("batch_isend_irecv", incoming)
handle = dist.all_reduce(token, async_op=True)
handle.wait()
say("asynchronous all_reduce", token)
dist.barrier()
dist.destroy_process_group()
