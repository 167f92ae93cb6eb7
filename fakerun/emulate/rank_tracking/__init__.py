"""Follows the rank through the program: numbers that know which function of the rank they are, and tell which tests are made of them.

`values.py` has the numbers and `text.py` what they are written as; arithmetic makes further ones, a comparison is reported with its outcome
and gives a plain truth value. C and C++ read such a number as the integer that it is, and call none of its methods: they see nothing else,
but an index, membership in a set or a conversion go unseen. The program's own modules are therefore compiled with these few operations as
calls (`rewriting.py`, `imports.py`) of functions in `operations.py`, and functions that hand it to C report that (`native_calls.py`).
`sources.py` makes the program find the first such numbers.

Only where ranks are selected by what is found here (`--ranks auto`): every other job runs its modules as they are.
"""
