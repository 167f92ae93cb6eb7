"""What would lower the peak of reserved memory: each way is a change of the rank's device program, which is replayed; none is estimated.

`lifetimes` indexes a program, `program_edit` changes it; `module_visits`, `last_uses`, `foreach_steps`, `parameter_states` and
`replication` find in it what the ways need. Every other module has one way: where it applies, how the program changes, and what that
assumes; `changes` says what the user has to do for it. `candidates` replays what they propose and ranks what helps. Nothing here knows
which operation reads which block: the program has shapes, lifetimes, modules and lines, and what cannot be told from them is not proposed.
"""

from fakerun.analysis.memory.advice.candidates import Advice, advice_for

__all__ = ["Advice", "advice_for"]
