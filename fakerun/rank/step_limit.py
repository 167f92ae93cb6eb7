"""The exception that ends a script at its step limit."""


class StepLimitReached(SystemExit):
    """Raised from inside the script's optimizer step when the job's steps are done.

    A SystemExit, because code lets that one pass: `except Exception` does not catch it, torch's `@record` and `asyncio` re-raise it, and a
    thread ends on it silently. A script that swallows it gets it again at its next step.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(0)
        self.steps = steps
