"""What `--help` prints: a screen of 24 lines for each command. `--help-all` lists every option, from the options themselves."""

from typing import Annotated, Any

import typer

from fakerun.hardware.catalogue import DEFAULT_HARDWARE

_ENDING = """\
Exit codes: 0 no error, 1 an error was found, 2 wrong usage, 3 the script
failed, 4 fakerun could not simulate it, 130 interrupted.
"""

_RUN = f"""\
Usage: fakerun SCRIPT [OPTIONS] [-- SCRIPT ARGUMENTS]
       fakerun [OPTIONS] SCRIPT [SCRIPT ARGUMENTS]     (-m MODULE, too)
       fakerun check | init | report | compare | schema   (--help of each)

Dry-run a distributed PyTorch job without a GPU: its collectives, its memory,
whether its ranks agree. SCRIPT is an unmodified CUDA script, or a job.yaml.
Example: fakerun train.py --world-size 8 --mesh dp=2,tp=4 --ranks all

  --world-size N            ranks; or --nnodes N --nproc-per-node N
  --mesh 2x4|dp=2,tp=4      device mesh
  --ranks all|auto|0,4-7    ranks to simulate  [default: 0]
  --steps N|all             optimizer steps to run  [default: 2]
  --hardware NAME           accelerator  [default: {DEFAULT_HARDWARE}]
  --max-memory 70GiB|90%    exit with 1 above this peak; --strict: on warnings
  --output FORMAT[=FILE]    table, json, junit, sarif, github ...; -o report.md
  --run-dir DIRECTORY       keep the records, for `fakerun report`
  -v  -q                    show what the script prints; leave out progress
  --help-all                list all options

Variables give options too: FAKERUN_WORLD_SIZE=8, torchrun's PET_NNODES=2.
{_ENDING}"""

_REPORT = f"""\
Usage: fakerun report RUN_DIRECTORY [OPTIONS]

Show the report of a run that was kept (--run-dir), without running it again.
Example: fakerun report run --hardware l4 --format json -o report.json

  --hardware NAME           judge the run on another accelerator
  --max-memory 70GiB|90%    exit with 1 above this peak
  --strict                  exit with 1 on warnings too
  --ignore CODE,...         leave out findings of these codes
  --output FORMAT[=FILE]    table, json, junit, sarif, github ...; -o report.md
  --trace                   list every collective
  --top N                   list the N largest tensors
  --help-all                describe all options

{_ENDING}"""

_COMPARE = """\
Usage: fakerun compare JOB [OPTIONS]
       fakerun compare OLD NEW [OPTIONS]

Compare two runs of a job: what each rank communicates and what memory it needs.
JOB is one of fakerun.yaml: its baseline, and the run that `fakerun check` kept.
OLD and NEW are jobs, run directories (--run-dir), reports in JSON or baselines.
Example: fakerun compare train, or fakerun compare before.json after.json

  --format NAME  -o FILE    table, markdown or json; write it to a file
  --help-all                describe all options

Exit codes: 0 equal within the tolerances, 1 different, 2 wrong usage.
"""

_INIT = """\
Usage: fakerun init [SCRIPT] [OPTIONS]
       fakerun init --from FILE [OPTIONS]

Write a job file, fakerun.yaml, for `fakerun check`: a first one for SCRIPT, or
for the only training script here; or one of the jobs in FILE, which is
recognised by its content and never run.
Example: fakerun init --from train.sbatch

  --from FILE               an accelerate config, a Kubeflow TrainJob or
                            PyTorchJob, a SkyPilot task, an sbatch script, or
                            command lines of torchrun or TorchX; - is stdin
  --kind KIND               accelerate, kubeflow, skypilot, sbatch or command
  --nproc-per-node N        ranks of a node, where FILE does not say
  -o FILE                   write this file, not fakerun.yaml; - is stdout
  --force                   replace a job file that is there
  -q                        leave out what is not carried over
"""

_SCHEMA = """\
Usage: fakerun schema

Print the JSON Schema of job files (fakerun.yaml), for editors and checkers.
Example: fakerun schema > fakerun.schema.json, and as a line of the job file:
  # yaml-language-server: $schema=fakerun.schema.json
"""

_CHECK = f"""\
Usage: fakerun check [FILE] [JOB ...] [OPTIONS]

Run the jobs of fakerun.yaml and hold each against what it must keep.
Example: fakerun check, or fakerun check fakerun.yaml 'pretrain*' --strict
FILE is found in this directory or above it: fakerun.yaml, or [tool.fakerun]
in pyproject.toml. JOB is a name, or a pattern with * and ?.

  --list                    list the jobs
  --hardware NAME           judge all of them on this accelerator
  --steps N|all             optimizer steps to run
  --max-memory 70GiB|90%    exit with 1 above this peak; --strict: on warnings
  -j, --jobs N              ranks to run at a time  [default: cores]
  --changed-since REVISION  only jobs whose files changed; --no-cache: all
  --update-baseline         write what each job does now as its baseline
  -x, --exitfirst           stop at the first job that fails
  --exit-zero               exit with 0 where jobs only fail their limits
  --help-all                describe all options

The exit code is that of the job that goes first in: 130, 4, 2, 3, 1, 0.
{_ENDING}"""

BRIEF = {
    "run": _RUN,
    "check": _CHECK,
    "report": _REPORT,
    "compare": _COMPARE,
    "init": _INIT,
    "schema": _SCHEMA,
}
"""By command."""


def _print_full_help(ctx: Any, _parameter: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        typer.echo(ctx.command.full_help(ctx))
        raise typer.Exit


FullHelp = Annotated[
    bool,
    typer.Option(
        "--help-all",
        callback=_print_full_help,
        is_eager=True,
        expose_value=False,
        show_envvar=False,
        help="Describe every option and exit.",
    ),
]
