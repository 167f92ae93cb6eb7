"""A communication call with its place in the program, while the rank runs: what is known only later is added in its record."""

from dataclasses import dataclass

from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveRecord, CommunicationCall, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCall:
    """A call and its place in the program. Its group is named at the end: the mesh that names it may be made after the call."""

    call: CommunicationCall
    optimizer_steps: int
    """How many the script had taken before."""
    phase: Phase
    module: str | None
    call_site: CallSite | None
    coalesced: int | None
    device: int | None

    def record(self, *, seq: int, step: int, group: str | None, waited_before: int | None) -> CollectiveRecord:
        """The record of the call, the rank's call number `seq`."""
        call = self.call
        return CollectiveRecord(
            seq=seq,
            step=step,
            phase=self.phase,
            module=self.module,
            call_site=self.call_site,
            op=call.op,
            dtype=call.dtype,
            input_sizes=call.input_sizes,
            output_sizes=call.output_sizes,
            nbytes=call.nbytes,
            reduce_op=call.reduce_op,
            tag=call.tag,
            input_splits=call.input_splits,
            output_splits=call.output_splits,
            is_async=call.is_async,
            coalesced=self.coalesced,
            device=self.device,
            waited=not call.is_async or waited_before is not None,
            waited_before=waited_before,
            group=group,
            group_ranks=call.group_ranks,
            process_group=call.process_group,
            root=call.root,
            peer=call.peer,
        )
