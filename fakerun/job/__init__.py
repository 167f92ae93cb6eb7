"""What was asked: the job and its parts. Torch-free."""
