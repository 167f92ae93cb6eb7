"""What the text of the program says about code that runs: the expression at an instruction, how a branch ends, what a value is for.

Free of torch: `emulate` asks which answer lets a check pass, `rank` whether a failure follows from a value that was made up.
"""
