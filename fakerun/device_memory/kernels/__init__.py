"""What kernels take from the caching allocator beside their results: rules by operator, one subject a module; `registry` has them all.

A meta kernel does not show it. The rules are those of the host code of each kernel; sources are files of pytorch/pytorch.
"""
