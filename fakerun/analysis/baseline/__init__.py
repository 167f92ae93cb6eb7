"""The baseline of a job: what its ranks are known to communicate and to need, in a text that is reviewed with the code.

`baseline` has the data, `folding` finds repetitions, `calls` writes a call as a line, `text` the whole as YAML. `compare` finds what
differs in two baselines and `causes` what may have changed in the program; each `Difference` is one statement for a person.
"""
