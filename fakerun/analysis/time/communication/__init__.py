"""What a communication call costs: seconds from the arrival of its last rank, with nothing else on the links.

1. `placement`: on how many nodes the ranks of a group are, and how many of them on each.
2. `call_shape`: what of a call its cost depends on, as nccl-tests would measure it.
3. `curves`: time over size between devices that NVLink joins, from what was measured, log-log interpolated.
4. `in_node`: calls inside a node: the curves of its link, else the rates of the link.
5. `across_nodes`: calls between nodes: rings and trees over the node's links and the NICs.
6. `channels`: how many multiprocessors the call takes from computing kernels.
7. `call_costs`: `CallCosts`, which chooses among these and remembers.

`own_runs` puts what the user measured with nccl-tests before the published curves.
"""
