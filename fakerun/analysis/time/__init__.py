"""How long a step takes: what each operation and each communication call costs, and the streams played against each other.

1. `costs`: the cost of one operation or call, and what it is taken from.
2. `operations`: operations, from published and measured tables, else from the rates of the card.
3. `communication`: communication calls, from measured curves of time over size, by where the group's ranks are.
4. `host_times`: what the host takes to issue them.
5. `timeline`: hosts, streams and process groups of all ranks, played with these costs.
6. `step_time`: what a timeline says of a step: `time_by_kind`, exposed communication, the `critical_path`, what an axis would gain.
7. `utilisation`: what share of the card's rate a step uses; `unknown_calls`: the communication that is not in it.
8. `published_error`: how far predictions are from step times that others published; `estimate`: the step time with that error.

Pure functions over records, free of torch.
"""
