"""What train_fsdp.py and train_tp_fsdp.py communicate: the first is the second with tp = 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from tests.oracles.formulas.collective import Collective, all_gather, in_place, reduce_scatter
from tests.oracles.formulas.model import Job, elements, fsdp_padded_size, fsdp_units, parameters, tp_local_size

ROOT = 0
"""The unit of what is in no block; unit i + 1 is block i."""

NORMS_OF_BLOCK = 2


def collectives_of_fsdp(job: Job, rank: int, steps: int) -> list[Collective]:
    """Everything that one rank of train_fsdp.py or train_tp_fsdp.py issues, in order, in `steps` steps.

    All steps issue the same calls. Along an axis of one rank nothing is sent, neither by FSDP2 nor by DTensor.
    """
    peers = {"dp": job.dp > 1, "tp": job.tp > 1, "world": True}
    issued = [*setup(job), *list(TrainingStep(job=job, rank=rank).collectives()) * steps]
    return [collective for collective in issued if peers[collective.axis]]


def setup(job: Job) -> Iterator[Collective]:
    """On CUDA the first random operation on a DTensor gives all ranks the random generator's state (seed, offset) of rank 0.

    The CPU's generator is left alone, so there nothing is sent. (`OffsetBasedRNGTracker`)
    """
    if job.device == "cuda":
        yield in_place("broadcast", "world", "uint8", 16)


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One training step of one rank."""

    job: Job
    rank: int

    def collectives(self) -> Iterator[Collective]:
        yield from self.forward()
        yield from self.backward()
        yield from self.clipping()

    # ---- The three parts

    def forward(self) -> Iterator[Collective]:
        """Each unit gathers its parameters when its forward begins.

        Under tensor parallelism activations are sharded along the sequence wherever there is no matrix: each matrix product that needs the
        whole sequence begins with a gather, and each that ends in partial sums (the embedding's, too: each rank knows some of the words)
        with a scatter. The output head gathers its logits along the vocabulary.
        """
        yield self.gather_parameters(ROOT)
        yield self.scatter_activations()
        for unit in self.blocks():
            yield self.gather_parameters(unit)
            for _ in ("attention", "feed-forward"):
                yield self.gather_activations()
                yield self.scatter_activations()
        yield self.gather_activations()
        yield self.gather_logits()

    def backward(self) -> Iterator[Collective]:
        """Units in the opposite order; each first makes sure that the next one's parameters are on their way, then reduces its gradients.

        What gathered activations in forward scatters their gradients now, and the other way around, except that the gradient of the
        gathered logits is whole on every rank: each takes its part.
        """
        if self.is_resharded(ROOT):
            yield self.gather_parameters(ROOT)
        yield from self.prefetch_before(self.job.shape.layers + 1)
        yield self.scatter_activations()
        for unit in reversed(self.blocks()):
            yield from self.prefetch_before(unit)
            yield self.gather_activations()
            yield from self.recomputation()
            yield self.scatter_activations()
            yield self.gather_activations()
            yield self.scatter_activations()
            yield from self.reduce_gradients(unit, norms=NORMS_OF_BLOCK)
        yield self.gather_activations()
        yield from self.reduce_gradients(ROOT, norms=1)

    def clipping(self) -> Iterator[Collective]:
        """The norm of all gradients together: every parameter's partial sum in one tensor, summed over one axis, then the other."""
        for axis in ("dp", "tp"):
            yield in_place("all_reduce", axis, "float32", len(parameters(self.job.shape)))

    # ---- Parameters and gradients, along dp

    def blocks(self) -> range:
        return range(ROOT + 1, self.job.shape.layers + 1)

    def is_resharded(self, unit: int) -> bool:
        """Whether a unit gives up its gathered parameters after forward. By default all do but those that backward begins with."""
        kept_by_default = (ROOT, self.job.shape.layers)
        return {"always": True, "never": False, "default": unit not in kept_by_default}[self.job.reshard_after_forward]

    def prefetch_before(self, unit: int) -> Iterator[Collective]:
        """Backward of a unit gathers the parameters of the block before it. The root runs around all blocks, and is not prefetched."""
        if unit - 1 != ROOT and self.is_resharded(unit - 1):
            yield self.gather_parameters(unit - 1)

    def gather_parameters(self, unit: int) -> Collective:
        """In the dtype of computation: cast before they are sent."""
        return all_gather("dp", self.job.dp, self.job.dtype, self.shard_elements(unit))

    def reduce_gradients(self, unit: int, *, norms: int) -> Iterator[Collective]:
        """In float32: cast before they are reduced.

        Each rank of a tp group has seen a part of the sequence through the norms, whose weights it holds whole; FSDP has their gradients
        summed over tp first, one by one. Up to torch 2.14 these have the dtype of computation, from 2.15 on that of reduction
        (pytorch/pytorch#197203; checked with 2.13 and 2.15).
        """
        for _ in range(norms):
            yield in_place("all_reduce", "tp", "float32" if self.job.torch >= (2, 15) else self.job.dtype, self.job.shape.dim)
        yield reduce_scatter("dp", self.job.dp, "float32", self.shard_elements(unit))

    def shard_elements(self, unit: int) -> int:
        """A rank's shards of a unit's parameters, padded and joined."""
        tp_rank = self.rank % self.job.tp
        locals_ = (tp_local_size(parameter, self.job.tp, tp_rank) for parameter in fsdp_units(self.job.shape)[unit])
        return elements(fsdp_padded_size(size, self.job.dp) for size in locals_)

    # ---- Activations, along tp

    def recomputation(self) -> Iterator[Collective]:
        """What a checkpointed block's forward repeats, as far as backward needs it: the last scatter only makes the block's output.

        Selective checkpointing keeps the results of scatters.
        """
        mode = self.job.activation_checkpointing
        if mode != "none":
            yield self.gather_activations()
            if mode == "full":
                yield self.scatter_activations()
            yield self.gather_activations()

    def gather_activations(self) -> Collective:
        """DTensor gathers along dimension 0 and then moves the pieces to where they belong, so it is the batch that grows."""
        return all_gather("tp", self.job.tp, self.job.dtype, *self.local_activations())

    def scatter_activations(self) -> Collective:
        return reduce_scatter("tp", self.job.tp, self.job.dtype, *self.local_activations())

    def local_activations(self) -> tuple[int, int, int]:
        return (self.job.batch_size, self.job.seq_len // self.job.tp, self.job.shape.dim)

    def gather_logits(self) -> Collective:
        """Of the whole sequence, and padded to the largest part of the vocabulary that a rank has."""
        local_vocab = ceil(self.job.shape.vocab / self.job.tp)
        return all_gather("tp", self.job.tp, self.job.dtype, self.job.batch_size, self.job.seq_len, local_vocab)
