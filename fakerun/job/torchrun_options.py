"""torchrun's own options, as data: whoever reads a command line of torchrun must know which of them take a value.

The list is that of `torch/distributed/run.py` in torch 2.11 to 2.15.
"""

from dataclasses import dataclass


def spelled(name: str) -> str:
    """The option of a parameter: `--nproc-per-node` of `nproc_per_node`."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchrunOption:
    """One of torchrun's options, by parameter name. One that is understood is an option of the command itself; the others are ignored."""

    name: str
    short: str | None = None
    takes_value: bool = True
    is_understood: bool = False

    @property
    def spelled(self) -> str:
        """`--nproc-per-node`."""
        return spelled(self.name)


TORCHRUN_OPTIONS = (
    TorchrunOption(name="nnodes", is_understood=True),
    TorchrunOption(name="nproc_per_node", is_understood=True),
    TorchrunOption(name="module", short="-m", takes_value=False, is_understood=True),
    TorchrunOption(name="no_python", takes_value=False, is_understood=True),
    TorchrunOption(name="standalone", takes_value=False),
    TorchrunOption(name="rdzv_backend"),
    TorchrunOption(name="rdzv_endpoint"),
    TorchrunOption(name="rdzv_id"),
    TorchrunOption(name="rdzv_conf"),
    TorchrunOption(name="max_restarts"),
    TorchrunOption(name="monitor_interval"),
    TorchrunOption(name="start_method"),
    TorchrunOption(name="event_log_handler"),
    TorchrunOption(name="role"),
    TorchrunOption(name="run_path", takes_value=False),
    TorchrunOption(name="log_dir"),
    TorchrunOption(name="log_line_prefix_template"),
    TorchrunOption(name="redirects", short="-r"),
    TorchrunOption(name="tee", short="-t"),
    TorchrunOption(name="local_ranks_filter"),
    TorchrunOption(name="duplicate_stdout_filters"),
    TorchrunOption(name="duplicate_stderr_filters"),
    TorchrunOption(name="node_rank"),
    TorchrunOption(name="master_addr"),
    TorchrunOption(name="master_port"),
    TorchrunOption(name="local_addr"),
    TorchrunOption(name="logs_specs"),
    TorchrunOption(name="numa_binding"),
    TorchrunOption(name="print_completion"),
    TorchrunOption(name="signals_to_handle"),
    TorchrunOption(name="shutdown_timeout"),
    TorchrunOption(name="virtual_local_rank", takes_value=False),
)

COUNTED_ON_THE_MACHINE = ("auto", "cpu", "gpu", "xpu")
"""What torchrun takes instead of a number of processes: it counts devices."""
