"""What the members of a process group must agree on, compared group by group. Its modules, in the order in which they are used:

1. `call_signature`: the properties of one call on which all ranks that are matched in it must agree.
2. `interning`: equal signatures and equal sequences of them get equal numbers, so that comparing ranks is comparing numbers.
3. `group_classes`: groups whose members do the same form one class, and are compared once.
4. `group_membership`, `group_creation`: do ranks create the same groups, in the same order, with the same members?
5. `collectives`, `p2p`: the first position at which members of a group diverge. `alignment` tells what happened there (a call is missing,
   extra, swapped or different), `early_exit` why a rank makes no further call. The result is a `mismatch`, not yet known to be a cause.
6. `call_checks`, `call_sites`: before that position, sizes that are wrong although all signatures agree, and calls from different lines.
"""
