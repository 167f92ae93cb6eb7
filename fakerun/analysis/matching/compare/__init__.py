"""What the members of a process group must agree on, compared group by group. Its modules, in the order in which they are used:

1. `interning`: equal signatures (`records.call_signature`) and equal sequences of them get equal numbers, so that comparing ranks is
   comparing numbers.
2. `group_classes`: groups whose members do the same form one class, and are compared once.
3. `group_membership`, `group_creation`: do ranks create the same groups, in the same order, with the same members?
4. `collectives`, `p2p`: the first position at which members of a group diverge. `alignment` tells what happened there (a call is missing,
   extra, swapped or different), `early_exit` why a rank makes no further call. The result is a `mismatch`, not yet known to be a cause.
5. `call_checks`, `call_sites`: before that position, sizes that are wrong although all signatures agree, and calls from different lines.
"""
