"""The exception with which the simulation ends a script that has done its steps."""


class StepLimitReached(SystemExit):
    """Raised from inside the script's optimizer step when the job's steps are done.

    A SystemExit, because everybody knows to let that one pass: `except Exception` does not catch it, torch's `@record` and
    `asyncio` hand it on, a thread ends on it without a word. A script that swallows it nevertheless gets it at its next step.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(0)
        self.steps = steps
