"""Messages: each send needs its receive, of the same size and dtype; per sender, receiver, group and tag they meet in order."""

from collections.abc import Collection, Iterator
from math import prod

from fakerun.analysis.matching.streams import Channel, Stream
from fakerun.analysis.matching.words import at
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding import Finding, Severity


def message_findings(channel: Channel, sent: Stream, received: Stream, simulated: Collection[int]) -> Iterator[Finding]:
    """What is wrong with the messages of a channel: the first thing, as the rest follows from it."""
    if channel.source not in simulated or channel.target not in simulated:
        return
    for number, (send, receive) in enumerate(zip(sent, received, strict=False)):
        if (difference := _difference(send, receive)) is not None:
            kind, gives, takes = difference
            yield _finding(
                f"{kind}-mismatch",
                f"{_name(number, channel)} is sent with {gives}{at(send)} and received as {takes}{at(receive)}.",
                channel,
                send,
                "Send and receive the same number of elements of the same dtype.",
            )
            return
    if len(sent) > len(received):
        yield _unmatched("send-without-recv", channel, sent[len(received)], len(received))
    elif len(received) > len(sent):
        yield _unmatched("recv-without-send", channel, received[len(sent)], len(sent))


def _difference(send: CollectiveRecord, receive: CollectiveRecord) -> tuple[str, str, str] | None:
    if send.dtype != receive.dtype:
        return "dtype", send.dtype, receive.dtype
    given, taken = (sum(map(prod, sizes)) for sizes in (send.input_sizes, receive.output_sizes))
    return ("size", f"{given} elements", f"{taken}") if given != taken else None


def _unmatched(code: str, channel: Channel, record: CollectiveRecord, number: int) -> Finding:
    missing = "receive" if code == "send-without-recv" else "send"
    acting, other = (channel.source, channel.target) if code == "send-without-recv" else (channel.target, channel.source)
    return _finding(
        code,
        f"{_name(number, channel)}, on rank {acting}{at(record)}, has no {missing} on rank {other}.",
        channel,
        record,
        f"Add the {missing} on rank {other}, with the same group and tag.",
    )


def _name(number: int, channel: Channel) -> str:
    return f"message {number} from rank {channel.source} to rank {channel.target}"


def _finding(code: str, message: str, channel: Channel, record: CollectiveRecord, hint: str) -> Finding:
    return Finding(
        code=code,
        severity=Severity.ERROR,
        message=message,
        ranks=(channel.source, channel.target),
        call_site=record.call_site,
        hint=hint,
    )
