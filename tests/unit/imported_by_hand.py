"""What each file of `launcher_files/` is as jobs, or why it is refused; and where the public ones are from.

The files are as they are published, except where their first line says that they are shortened. The licences are in
`launcher_files/licences/`; files of the repositories under Apache-2.0 share one.
"""

from dataclasses import dataclass

from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.source import Note
from fakerun.job.launcher import Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a public file is from."""

    repository: str
    commit: str
    path: str
    licence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that cannot be carried over, and the message."""

    message: str


def job(
    *,
    name: str,
    script: str | None = None,
    module: str | None = None,
    args: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    workdir: str | None = None,
    nnodes: int = 1,
    nproc_per_node: int | None = None,
    mesh: tuple[tuple[str, int], ...] = (),
    hardware: str | None = None,
    launcher: Launcher = Launcher.TORCHRUN,
    notes: list[tuple[int, str]],
) -> ImportedJob:
    """A job whose line, and why its number of ranks is not known, are not told apart."""
    return ImportedJob(
        name=name,
        line=0,
        script=script,
        module=module,
        args=args,
        env=tuple((env or {}).items()),
        workdir=workdir,
        nnodes=nnodes,
        nproc_per_node=nproc_per_node,
        mesh=mesh,
        hardware=hardware,
        launcher=launcher,
        notes=tuple(Note(line=line, text=text) for line, text in notes),
    )


ORIGINS = {
    "accelerate_submit_multigpu.sh": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/slurm/submit_multigpu.sh",
        licence="Apache-2.0",
    ),
    "accelerate_submit_multinode.sh": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/slurm/submit_multinode.sh",
        licence="Apache-2.0",
    ),
    "accelerate_templates_deepspeed.yaml": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/config_yaml_templates/deepspeed.yaml",
        licence="Apache-2.0",
    ),
    "accelerate_templates_fp8.yaml": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/config_yaml_templates/fp8.yaml",
        licence="Apache-2.0",
    ),
    "accelerate_templates_fsdp.yaml": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/config_yaml_templates/fsdp.yaml",
        licence="Apache-2.0",
    ),
    "accelerate_templates_multi_node.yaml": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/config_yaml_templates/multi_node.yaml",
        licence="Apache-2.0",
    ),
    "accelerate_tp_hsdp.yaml": Origin(
        repository="huggingface/accelerate",
        commit="16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
        path="examples/torch_native_parallelism/configs/tp_hsdp.yaml",
        licence="Apache-2.0",
    ),
    "alignment_handbook_fsdp.yaml": Origin(
        repository="huggingface/alignment-handbook",
        commit="925acdfe4b2b4e38c3dabd1851bc418f0b656351",
        path="recipes/accelerate_configs/fsdp.yaml",
        licence="Apache-2.0",
    ),
    "aws_ddp_venv_train.sbatch": Origin(
        repository="aws-samples/awsome-distributed-training",
        commit="7217859f67bc693c52ff175ccc6082c41dbd7a1b",
        path="3.test_cases/pytorch/ddp/slurm/1.venv-train.sbatch",
        licence="MIT-0",
    ),
    "aws_fsdp_llama3_1_8b.sbatch": Origin(
        repository="aws-samples/awsome-distributed-training",
        commit="7217859f67bc693c52ff175ccc6082c41dbd7a1b",
        path="3.test_cases/pytorch/FSDP/slurm/llama3_1_8b-training.sbatch",
        licence="MIT-0",
    ),
    "aws_fsdp_pytorchjob_template.yaml": Origin(
        repository="aws-samples/awsome-distributed-training",
        commit="7217859f67bc693c52ff175ccc6082c41dbd7a1b",
        path="3.test_cases/pytorch/FSDP/kubernetes/llama3_1_8b-fsdp.yaml",
        licence="MIT-0",
    ),
    "aws_picotron_train.sbatch": Origin(
        repository="aws-samples/awsome-distributed-training",
        commit="7217859f67bc693c52ff175ccc6082c41dbd7a1b",
        path="3.test_cases/pytorch/picotron/SmolLM-1.7B/slurm/train.sbatch",
        licence="MIT-0",
    ),
    "csc_accelerate_gpu8.sh": Origin(
        repository="CSCfi/pytorch-ddp-examples",
        commit="4467e84197ea364e4b4629e96f78e19e3c3a5907",
        path="run-accelerate-gpu8.sh",
        licence="MIT",
    ),
    "csc_ddp_gpu8.sh": Origin(
        repository="CSCfi/pytorch-ddp-examples", commit="4467e84197ea364e4b4629e96f78e19e3c3a5907", path="run-ddp-gpu8.sh", licence="MIT"
    ),
    "csc_lightning_gpu8.sh": Origin(
        repository="CSCfi/pytorch-ddp-examples",
        commit="4467e84197ea364e4b4629e96f78e19e3c3a5907",
        path="run-lightning-gpu8.sh",
        licence="MIT",
    ),
    "lightning_demo_script.sh": Origin(
        repository="Lightning-AI/pytorch-lightning",
        commit="6c38a9cdf4b8ed0b5c6a500eb61ff62d03893e0f",
        path="examples/new_project_templates/multi_node_examples/demo_script.sh",
        licence="Apache-2.0",
    ),
    "nanogpt.txt": Origin(
        repository="karpathy/nanoGPT", commit="3adf61e154c3fe3fca428ad6bc3818b27a3b8291", path="README.md", licence="MIT"
    ),
    "princeton_ddp.slurm": Origin(
        repository="PrincetonUniversity/multi_gpu_training",
        commit="0baf910fd64ab8b5706ac54765c595979b930c25",
        path="02_pytorch_ddp/job.slurm",
        licence="MIT",
    ),
    "princeton_lightning.slurm": Origin(
        repository="PrincetonUniversity/multi_gpu_training",
        commit="0921ae1a1edfd358abfb629eacfd0d968a005920",
        path="03_pytorch_lightning/multi/job.slurm",
        licence="MIT",
    ),
    "pytorch_examples_fsdp2_run_example.sh": Origin(
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="distributed/FSDP2/run_example.sh",
        licence="BSD-3-Clause",
    ),
    "pytorch_examples_mingpt_run_example.sh": Origin(
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="distributed/minGPT-ddp/run_example.sh",
        licence="BSD-3-Clause",
    ),
    "pytorch_examples_sbatch_run.sh": Origin(
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="distributed/ddp-tutorial-series/slurm/sbatch_run.sh",
        licence="BSD-3-Clause",
    ),
    "pytorchjob_deepspeed_demo.yaml": Origin(
        repository="kubeflow/training-operator",
        commit="aa3f08eb68426569e3ecdca259332fb8b9f9b8ab",
        path="examples/pytorch/deepspeed-demo/pytorch_deepspeed_demo.yaml",
        licence="Apache-2.0",
    ),
    "pytorchjob_echo.yaml": Origin(
        repository="kubeflow/training-operator",
        commit="29404508fb8c439840493769a2e523032562cdc3",
        path="examples/pytorch/elastic/echo/echo.yaml",
        licence="Apache-2.0",
    ),
    "pytorchjob_imagenet.yaml": Origin(
        repository="kubeflow/training-operator",
        commit="3592a1d64f243b0d0569a9b31c6b34df0fbc948f",
        path="examples/pytorch/elastic/imagenet/imagenet.yaml",
        licence="Apache-2.0",
    ),
    "pytorchjob_mnist_nccl.yaml": Origin(
        repository="kubeflow/training-operator",
        commit="2712f5667ec78f17d22288630f8719f0c08990ba",
        path="examples/pytorch/mnist/v1/pytorch_job_mnist_nccl.yaml",
        licence="Apache-2.0",
    ),
    "pytorchjob_simple.yaml": Origin(
        repository="kubeflow/training-operator",
        commit="05d24a7c9d1aaa35dc42642b6f9fe38e7d5b15ec",
        path="examples/pytorch/simple.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_ddp_train.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="01510a669f598fd1500c7e853eddc2fdf3b8f552",
        path="examples/distributed-pytorch/train.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_ddp_train_rdzv.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="08dde4b1b3a84263873e4dbc14d6fcb74bbe307b",
        path="examples/distributed-pytorch/train-rdzv.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_deepspeed_multinode.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="3498b46deacfaac80d3bb1434959e6603ca17e85",
        path="examples/deepspeed-multinode/sky.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_elastic_training.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="cac3d03b40fd434411d503f952e86067ee7efcad",
        path="examples/elastic_training/job.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_falcon_train.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="c3cffed2f5b0eef71546659fdc50a4787a461170",
        path="llm/falcon/train.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_gpt_oss_sft.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="07f9af682a093f6170718a92ef865e73d9e21d71",
        path="llm/gpt-oss-finetuning/gpt-oss-120b-sft.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_torchtitan.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="07cdb8adae7daf168d87c6c45e19287b519f9a3f",
        path="examples/training/torchtitan/torchtitan.yaml",
        licence="Apache-2.0",
    ),
    "skypilot_vicuna_train.yaml": Origin(
        repository="skypilot-org/skypilot",
        commit="06223fc5d3a5f125eb9e9fb77011853ce049fbd4",
        path="llm/vicuna/train.yaml",
        licence="Apache-2.0",
    ),
    "torchtitan_multinode_trainer.slurm": Origin(
        repository="pytorch/torchtitan",
        commit="b5bcd76c66d0acb1a08b176d9639425bc55e0b2a",
        path="multinode_trainer.slurm",
        licence="BSD-3-Clause",
    ),
    "torchvision_references.txt": Origin(
        repository="pytorch/vision",
        commit="067704986d92a3dff4ccf4a686080b3d31390402",
        path="references/classification/README.md",
        licence="BSD-3-Clause",
    ),
    "torchx_dist.txt": Origin(
        repository="pytorch/torchx",
        commit="b72ba038140b4540e89086de835ba07a57aff657",
        path="torchx/components/dist.py",
        licence="BSD-3-Clause",
    ),
    "torchx_lightning.txt": Origin(
        repository="pytorch/torchx",
        commit="b72ba038140b4540e89086de835ba07a57aff657",
        path="torchx/examples/apps/lightning/train.py",
        licence="BSD-3-Clause",
    ),
    "torchx_lsf.txt": Origin(
        repository="pytorch/torchx",
        commit="b72ba038140b4540e89086de835ba07a57aff657",
        path="torchx/schedulers/lsf_scheduler.py",
        licence="BSD-3-Clause",
    ),
    "torchx_slurmtest.sh": Origin(
        repository="pytorch/torchx", commit="b72ba038140b4540e89086de835ba07a57aff657", path="scripts/slurmtest.sh", licence="BSD-3-Clause"
    ),
    "torchx_spmd.txt": Origin(
        repository="pytorch/torchx",
        commit="b72ba038140b4540e89086de835ba07a57aff657",
        path="torchx/components/dist.py",
        licence="BSD-3-Clause",
    ),
    "trainjob_grpo.yaml": Origin(
        repository="kubeflow/trainer",
        commit="3e889eb4c0e1c3570d6310081e5218e470dd14f0",
        path="examples/grpo/grpo-trainjob.yaml",
        licence="Apache-2.0",
    ),
    "trainjob_lifecycle.yaml": Origin(
        repository="kubeflow/trainer",
        commit="8c0f5059bd51ec3ba6d6a6a7b2e1471de7bc13b3",
        path="docs/user-guides/trainjob-lifecycle.md",
        licence="Apache-2.0",
    ),
    "trainjob_migration.yaml": Origin(
        repository="kubeflow/trainer",
        commit="8c0f5059bd51ec3ba6d6a6a7b2e1471de7bc13b3",
        path="docs/operator-guides/migration.md",
        licence="Apache-2.0",
    ),
    "trainjob_mnist.yaml": Origin(
        repository="kubeflow/trainer",
        commit="2a758a1ca0192e666aac23a6a6cb4e2a743286da",
        path="examples/yaml/basic/04-pytorch-simple.yaml",
        licence="Apache-2.0",
    ),
    "trainjob_runtime_patches.yaml": Origin(
        repository="kubeflow/trainer",
        commit="8c0f5059bd51ec3ba6d6a6a7b2e1471de7bc13b3",
        path="examples/yaml/02-runtime-patches.yaml",
        licence="Apache-2.0",
    ),
}
"""Of each public file; the others were written for this project."""

CASES: dict[str, Refused | tuple[ImportedJob, ...]] = {
    "accelerate_ddp.yaml": (
        job(
            name="accelerate_ddp",
            nproc_per_node=8,
            env={"ACCELERATE_MIXED_PRECISION": "fp16"},
            notes=[(5, "not carried over, because only a real launch needs it: main_process_port")],
        ),
    ),
    "accelerate_fsdp2.yaml": (
        job(
            name="accelerate_fsdp2",
            nnodes=2,
            nproc_per_node=8,
            env={
                "ACCELERATE_MIXED_PRECISION": "bf16",
                "ACCELERATE_USE_FSDP": "true",
                "FSDP_VERSION": "2",
                "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
                "FSDP_RESHARD_AFTER_FORWARD": "true",
                "FSDP_OFFLOAD_PARAMS": "false",
                "FSDP_MIN_NUM_PARAMS": "100000000",
                "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
                "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
                "FSDP_FORWARD_PREFETCH": "false",
                "FSDP_USE_ORIG_PARAMS": "true",
                "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
                "FSDP_SYNC_MODULE_STATES": "true",
                "FSDP_ACTIVATION_CHECKPOINTING": "true",
                "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
            },
            notes=[(19, "not carried over, because only a real launch needs it: rdzv_backend")],
        ),
    ),
    "accelerate_submit_multigpu.sh": (
        job(
            name="multigpu",
            script="/accelerate/examples/complete_nlp_example.py",
            args=("--mixed_precision", "fp16", "--output_dir", "/accelerate/examples/output", "--with_tracking"),
            nproc_per_node=4,
            env={"GPUS_PER_NODE": "4", "ACCELERATE_DIR": "/accelerate", "SCRIPT": "/accelerate/examples/complete_nlp_example.py"},
            notes=[
                (5, "not carried over, because only Slurm needs it: --output, --error, --cpus-per-task, --time"),
                (16, "not carried over, and nothing of it is run: source activateEnvironment.sh"),
                (20, "ACCELERATE_DIR is not set here: its default '/accelerate' is taken"),
                (28, "not carried over as variables, because they are parts of the command: SCRIPT_ARGS"),
            ],
        ),
    ),
    "accelerate_submit_multinode.sh": (
        job(
            name="multinode",
            script="/accelerate/examples/complete_nlp_example.py",
            args=("--mixed_precision", "fp16", "--output_dir", "/accelerate/examples/output"),
            nnodes=4,
            nproc_per_node=4,
            env={"GPUS_PER_NODE": "4", "ACCELERATE_DIR": "/accelerate", "SCRIPT": "/accelerate/examples/complete_nlp_example.py"},
            notes=[
                (5, "not carried over, because only Slurm needs it: --output, --error, --cpus-per-task, --time"),
                (16, "not carried over, and nothing of it is run: source activateEnvironment.sh"),
                (33, "ACCELERATE_DIR is not set here: its default '/accelerate' is taken"),
                (42, "not carried over, because only a real launch needs it: --rdzv_backend, --main_process_ip, --main_process_port"),
                (42, "not carried over as variables, because they are parts of the command: LAUNCHER, SCRIPT_ARGS, CMD"),
            ],
        ),
    ),
    "accelerate_templates_deepspeed.yaml": (
        job(name="accelerate_templates_deepspeed", nproc_per_node=2, notes=[(4, "not carried over: DeepSpeed: it is not read")]),
    ),
    "accelerate_templates_fp8.yaml": (
        job(
            name="accelerate_templates_fp8",
            nproc_per_node=1,
            notes=[(4, "not carried over: mixed_precision fp8: its libraries are not emulated")],
        ),
    ),
    "accelerate_templates_fsdp.yaml": (
        job(
            name="accelerate_templates_fsdp",
            nproc_per_node=2,
            env={
                "ACCELERATE_MIXED_PRECISION": "bf16",
                "ACCELERATE_USE_FSDP": "true",
                "FSDP_VERSION": "1",
                "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
                "FSDP_RESHARD_AFTER_FORWARD": "true",
                "FSDP_OFFLOAD_PARAMS": "false",
                "FSDP_MIN_NUM_PARAMS": "100000000",
                "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                "FSDP_BACKWARD_PREFETCH": "BACKWARD_PRE",
                "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
                "FSDP_FORWARD_PREFETCH": "false",
                "FSDP_USE_ORIG_PARAMS": "true",
                "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
                "FSDP_SYNC_MODULE_STATES": "true",
                "FSDP_ACTIVATION_CHECKPOINTING": "false",
                "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
            },
            notes=[],
        ),
    ),
    "accelerate_templates_multi_node.yaml": (
        job(
            name="accelerate_templates_multi_node",
            nnodes=2,
            nproc_per_node=4,
            notes=[
                (7, "not carried over, because only a real launch needs it: main_process_ip"),
                (8, "not carried over, because only a real launch needs it: main_process_port"),
                (16, "not carried over, because only a real launch needs it: same_network"),
            ],
        ),
    ),
    "accelerate_tp_hsdp.yaml": (
        job(
            name="accelerate_tp_hsdp",
            nproc_per_node=8,
            mesh=(("dp_replicate", 2), ("dp_shard", 2), ("tp", 2)),
            env={
                "ACCELERATE_MIXED_PRECISION": "bf16",
                "ACCELERATE_USE_FSDP": "true",
                "FSDP_VERSION": "2",
                "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
                "FSDP_RESHARD_AFTER_FORWARD": "true",
                "FSDP_OFFLOAD_PARAMS": "false",
                "FSDP_MIN_NUM_PARAMS": "100000000",
                "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
                "FSDP_FORWARD_PREFETCH": "false",
                "FSDP_USE_ORIG_PARAMS": "true",
                "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
                "FSDP_SYNC_MODULE_STATES": "true",
                "FSDP_ACTIVATION_CHECKPOINTING": "false",
                "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
                "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
                "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2",
                "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2",
                "PARALLELISM_CONFIG_TP_SIZE": "2",
                "PARALLELISM_CONFIG_CP_SIZE": "1",
                "PARALLELISM_CONFIG_CP_BACKEND": "torch",
                "PARALLELISM_CONFIG_SP_SIZE": "1",
                "PARALLELISM_CONFIG_SP_BACKEND": "deepspeed",
            },
            notes=[],
        ),
    ),
    "alignment_handbook_fsdp.yaml": (
        job(
            name="alignment_handbook_fsdp",
            nproc_per_node=8,
            env={
                "ACCELERATE_MIXED_PRECISION": "bf16",
                "ACCELERATE_USE_FSDP": "true",
                "FSDP_VERSION": "1",
                "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
                "FSDP_RESHARD_AFTER_FORWARD": "true",
                "FSDP_OFFLOAD_PARAMS": "false",
                "FSDP_MIN_NUM_PARAMS": "100000000",
                "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                "FSDP_BACKWARD_PREFETCH": "BACKWARD_PRE",
                "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
                "FSDP_FORWARD_PREFETCH": "true",
                "FSDP_USE_ORIG_PARAMS": "true",
                "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
                "FSDP_SYNC_MODULE_STATES": "true",
                "FSDP_ACTIVATION_CHECKPOINTING": "false",
                "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
            },
            notes=[],
        ),
    ),
    "aws_ddp_venv_train.sbatch": Refused(
        'aws_ddp_venv_train.sbatch:32: the script is $(dirname "$PWD")/ddp.py: the value of $(dirname "$PWD") is not in the file; write the script there'
    ),
    "aws_fsdp_llama3_1_8b.sbatch": (
        job(
            name="llama3_1_8b-FSDP",
            script="../src/train.py",
            args=(
                "--max_context_width=8192",
                "--num_key_value_heads=8",
                "--intermediate_size=14336",
                "--hidden_width=4096",
                "--num_layers=32",
                "--num_heads=32",
                "--model_type=llama_v3",
                "--tokenizer=hf-internal-testing/llama-tokenizer",
                "--checkpoint_freq=50",
                "--validation_freq=25",
                "--max_steps=50",
                "--checkpoint_dir=./checkpoints",
                "--dataset=allenai/c4",
                "--dataset_config_name=en",
                "--resume_from_checkpoint=./checkpoints",
                "--train_batch_size=1",
                "--val_batch_size=1",
                "--sharding_strategy=full",
                "--offload_activations=1",
            ),
            nnodes=4,
            nproc_per_node=8,
            env={
                "DATA_PATH": "/fsx",
                "NCCL_DEBUG": "INFO",
                "FI_PROVIDER": "efa",
                "FI_EFA_USE_HUGE_PAGE": "0",
                "FI_EFA_SET_CUDA_SYNC_MEMOPS": "0",
                "NCCL_SOCKET_IFNAME": "^docker,lo,veth,eth",
                "HF_HUB_ETAG_TIMEOUT": "60",
                "TRAIN_SCRIPT": "../src/train.py",
                "TORCHRUN": "torchrun",
            },
            notes=[
                (8, "not carried over, because only Slurm needs it: --output, --error, --exclusive"),
                (26, "not carried over: FSX_MOUNT=$(pwd):/fsx, with what is not in the file: $(pwd)"),
                (46, "not carried over: LD_PRELOAD, which says where things are on that machine"),
                (80, "TRAIN_SCRIPT is set under a condition: its default '../src/train.py' is taken"),
                (113, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
                (113, "of what stands before the launcher, only nodes and tasks are read: srun $AUTO_RESUME -l $ARGS"),
            ],
        ),
    ),
    "aws_fsdp_pytorchjob_template.yaml": Refused(
        "aws_fsdp_pytorchjob_template.yaml:20: spec.pytorchReplicaSpecs.Worker.replicas: '$NUM_NODES' is not a number above 0; write one (in a template, fill in its variables first)"
    ),
    "aws_picotron_train.sbatch": (
        job(
            name="picotron",
            script="/picotron/train.py",
            args=("--config", "${PWD}/conf/llama-1B-tp2/config.json"),
            nnodes=2,
            nproc_per_node=1,
            notes=[
                (8, "not carried over, because only Slurm needs it: --output, --exclusive"),
                (47, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
                (47, "the argument ${PWD}/conf/llama-1B-tp2/config.json contains what is not known here (${PWD}): write the value"),
                (
                    47,
                    "of what stands before the launcher, only nodes and tasks are read: srun $AUTO_RESUME -l --container-image $PWD/picotron.sqsh --container-mounts $PW... (28 more characters)",
                ),
            ],
        ),
    ),
    "csc_accelerate_gpu8.sh": (
        job(
            name="mnist_accelerate",
            script="mnist_accelerate.py",
            args=("--epochs=100",),
            nnodes=2,
            nproc_per_node=4,
            env={"ACCELERATE_MIXED_PRECISION": "no"},
            notes=[
                (2, "not carried over, because only Slurm needs it: --account, --partition, --cpus-per-task, --mem, --time"),
                (9, "--gres gpu:v100:4: v100 may be v100-32gb; without a line `hardware:` it is h100-80gb"),
                (11, "not carried over, and nothing of it is run: module purge"),
                (12, "not carried over, and nothing of it is run: module load ..."),
                (30, "not carried over, because only a real launch needs it: --machine_rank, --main_process_ip, --main_process_port"),
                (30, "not carried over as variables, because they are parts of the command: LAUNCH_CMD"),
                (30, "of what stands before the launcher, only nodes and tasks are read: srun singularity_wrapper exec"),
            ],
        ),
    ),
    "csc_ddp_gpu8.sh": (
        job(
            name="mnist_ddp",
            script="mnist_ddp.py",
            args=("--epochs=100",),
            nnodes=2,
            nproc_per_node=4,
            env={"RDZV_PORT": "29400"},
            notes=[
                (2, "not carried over, because only Slurm needs it: --account, --partition, --cpus-per-task, --mem, --time"),
                (9, "--gres gpu:v100:4: v100 may be v100-32gb; without a line `hardware:` it is h100-80gb"),
                (11, "not carried over, and nothing of it is run: module purge"),
                (12, "not carried over, and nothing of it is run: module load ..."),
                (27, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
                (27, "not carried over as variables, because they are parts of the command: RDZV_HOST"),
            ],
        ),
    ),
    "csc_lightning_gpu8.sh": (
        job(
            name="mnist_lightning_ddp",
            script="mnist_lightning_ddp.py",
            args=("--gpus=4", "--nodes=2", "--epochs=100"),
            nnodes=2,
            nproc_per_node=4,
            launcher=Launcher.SLURM,
            notes=[
                (2, "not carried over, because only Slurm needs it: --account, --partition, --cpus-per-task, --mem, --time"),
                (9, "--gres gpu:v100:4: v100 may be v100-32gb; without a line `hardware:` it is h100-80gb"),
                (11, "not carried over, and nothing of it is run: module purge"),
                (12, "not carried over, and nothing of it is run: module load ..."),
            ],
        ),
    ),
    "kubeflow_pytorchjob.yaml": (
        job(
            name="pretrain-small",
            script="train.py",
            args=("--lr", "3e-4"),
            nnodes=4,
            nproc_per_node=8,
            env={"OMP_NUM_THREADS": "4"},
            notes=[(14, "not carried over, because only the cluster needs it: image")],
        ),
    ),
    "kubeflow_trainjob.yaml": (
        job(
            name="finetune",
            script="finetune.py",
            args=("--config", "8b.yaml"),
            nnodes=4,
            nproc_per_node=8,
            notes=[(10, "not carried over, because only the cluster needs it: image")],
        ),
    ),
    "lightning_demo_script.sh": (
        job(
            name="lightning_test",
            script="multi_node_own_slurm_script.py",
            nnodes=2,
            nproc_per_node=8,
            env={"NCCL_DEBUG": "INFO", "PYTHONFAULTHANDLER": "1"},
            launcher=Launcher.SLURM,
            notes=[
                (
                    4,
                    "not carried over, because only Slurm needs it: --output, --error, --time, --cpus-per-task, --mem, --signal, --comment",
                ),
                (15, "not carried over, and nothing of it is run: source activate ..."),
                (
                    22,
                    "not carried over: MASTER_PORT=$((12000 + RANDOM % 20000))$, with what is not in the file: $((12000 + RANDOM % 20000))",
                ),
            ],
        ),
    ),
    "nanogpt.txt": (
        job(name="train", script="train.py", args=("config/train_gpt2.py",), nproc_per_node=8, notes=[]),
        job(
            name="train-2",
            script="train.py",
            nnodes=2,
            nproc_per_node=8,
            notes=[(2, "not carried over, because only a real launch needs it: --master-addr, --master-port, --node-rank")],
        ),
    ),
    "princeton_ddp.slurm": (
        job(
            name="ddp-torch",
            script="mnist_classify_ddp.py",
            args=("--epochs=2",),
            nnodes=2,
            nproc_per_node=2,
            env={"WORLD_SIZE": "4", "MASTER_ADDR": "localhost"},
            launcher=Launcher.SLURM,
            notes=[
                (5, "not carried over, because only Slurm needs it: --cpus-per-task, --mem, --time"),
                (
                    10,
                    "not carried over: MASTER_PORT=$(expr 10000 + $(echo -n $SLURM_JOBID | tail -c 4)), with what is not in the file: $(expr 10000 + $(echo -n $SLURM_JOBID | tail -c 4))",
                ),
                (
                    15,
                    'MASTER_ADDR is $(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1): written as localhost, because no peer is contacted',
                ),
                (18, "not carried over, and nothing of it is run: module purge"),
                (19, "not carried over, and nothing of it is run: module load ..."),
            ],
        ),
    ),
    "princeton_lightning.slurm": (
        job(
            name="myjob",
            script="myscript.py",
            nproc_per_node=2,
            env={"PL_TORCH_DISTRIBUTED_BACKEND": "gloo"},
            launcher=Launcher.SLURM,
            notes=[
                (5, "not carried over, because only Slurm needs it: --cpus-per-task, --mem-per-cpu, --time, --reservation"),
                (9, "--constraint: a100 may be a100-40gb, a100-80gb, a100-pcie; without a line `hardware:` it is h100-80gb"),
                (12, "not carried over, and nothing of it is run: module purge"),
                (13, "not carried over, and nothing of it is run: module load ..."),
            ],
        ),
    ),
    "pytorch_examples_fsdp2_run_example.sh": (
        job(
            name="example",
            script="example.py",
            nproc_per_node=4,
            notes=[
                (9, "1 is not set here: its default 'example.py' is taken"),
                (9, "2 is not set here: its default '4' is taken"),
                (10, "2 is not set here: its default '4' is taken"),
                (10, "1 is not set here: its default 'example.py' is taken"),
            ],
        ),
    ),
    "pytorch_examples_mingpt_run_example.sh": (
        job(
            name="main",
            script="main.py",
            nproc_per_node=16,
            notes=[
                (9, "1 is not set here: its default 'main.py' is taken"),
                (9, "2 is not set here: its default '16' is taken"),
                (10, "2 is not set here: its default '16' is taken"),
                (10, "1 is not set here: its default 'main.py' is taken"),
            ],
        ),
    ),
    "pytorch_examples_sbatch_run.sh": (
        job(
            name="multinode-example",
            script="/shared/examples/multinode_torchrun.py",
            args=("50", "10"),
            nnodes=4,
            nproc_per_node=1,
            env={"LOGLEVEL": "INFO"},
            notes=[
                (7, "not carried over, because only Slurm needs it: --cpus-per-task"),
                (17, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
            ],
        ),
    ),
    "pytorchjob_deepspeed_demo.yaml": (
        job(
            name="pytorch-deepspeed-demo",
            script="/train_bert_ds.py",
            args=("--checkpoint_dir", "/root/deepspeed_data"),
            nnodes=2,
            nproc_per_node=1,
            notes=[(14, "not carried over, because only the cluster needs it: image")],
        ),
    ),
    "pytorchjob_echo.yaml": (
        job(
            name="elastic-example-echo",
            script="echo.py",
            nnodes=2,
            env={"LOGLEVEL": "DEBUG"},
            notes=[
                (6, "not carried over, because only the cluster needs it: elasticPolicy"),
                (18, "not carried over, because only the cluster needs it: image, imagePullPolicy"),
                (23, "not carried over, because only a real launch needs it: --rdzv-backend"),
            ],
        ),
    ),
    "pytorchjob_imagenet.yaml": (
        job(
            name="elastic-example-imagenet",
            script="/workspace/examples/imagenet.py",
            args=("--arch=resnet18", "--epochs=1", "--batch-size=32", "--workers=0", "/workspace/data/tiny-imagenet-200"),
            nnodes=2,
            env={"LOGLEVEL": "DEBUG"},
            notes=[
                (6, "not carried over, because only the cluster needs it: elasticPolicy"),
                (26, "not carried over, because only the cluster needs it: image, imagePullPolicy"),
            ],
        ),
    ),
    "pytorchjob_mnist_nccl.yaml": (
        job(
            name="pytorch-dist-mnist-nccl",
            args=("--backend", "nccl"),
            nnodes=2,
            nproc_per_node=1,
            notes=[
                (17, "not carried over, because only the cluster needs it: image"),
                (18, "no script is named: the command is the image's own"),
            ],
        ),
    ),
    "pytorchjob_simple.yaml": (
        job(
            name="pytorch-simple",
            script="/opt/mnist/src/mnist.py",
            args=("--epochs=1",),
            nnodes=2,
            nproc_per_node=1,
            notes=[
                (15, "not carried over, because only the cluster needs it: image, imagePullPolicy"),
                (17, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
    ),
    "skypilot.yaml": (
        job(
            name="pretrain",
            script="train.py",
            args=("--batch-size", "4"),
            nnodes=2,
            nproc_per_node=8,
            hardware="h100-80gb",
            notes=[
                (5, "not carried over, because only the cloud needs it: setup"),
                (9, "not carried over, because only a real launch needs it: --master-addr, --master-port, --node-rank"),
            ],
        ),
    ),
    "skypilot_ddp_train.yaml": (
        job(
            name="minGPT-ddp",
            script="main.py",
            workdir="examples/mingpt",
            nnodes=2,
            nproc_per_node=1,
            hardware="l4",
            env={"LOGLEVEL": "INFO"},
            notes=[
                (9, "not carried over, because only the cloud needs it: setup, resources.cpus"),
                (23, "not carried over, because only a real launch needs it: --master-addr, --master-port, --node-rank"),
            ],
        ),
    ),
    "skypilot_ddp_train_rdzv.yaml": (
        job(
            name="minGPT-ddp-rdzv",
            script="main.py",
            workdir="examples/mingpt",
            nnodes=2,
            nproc_per_node=2,
            hardware="l4",
            env={"LOGLEVEL": "INFO"},
            notes=[
                (9, "not carried over, because only the cloud needs it: setup, resources.cpus"),
                (20, "not carried over, and nothing of it is run: source .venv/bin/activate"),
                (34, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
            ],
        ),
    ),
    "skypilot_deepspeed_multinode.yaml": Refused(
        "skypilot_deepspeed_multinode.yaml:20: deepspeed starts the ranks, and its commands are not read (torchrun, python -m torch.distributed.run, accelerate launch, torchx run dist.ddp, srun python, python are); write the job by hand: fakerun init"
    ),
    "skypilot_elastic_training.yaml": (
        job(
            name="controller",
            script="controller.py",
            workdir="examples/elastic_training",
            nproc_per_node=1,
            env={"TOTAL_EPOCHS": "200", "MIN_WORKERS": "1000"},
            notes=[
                (22, "not carried over, because only the cloud needs it: workdir, resources.infra, resources.cpus, resources.job_recovery"),
                (27, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
        job(
            name="workers",
            script="worker.py",
            workdir="examples/elastic_training",
            nproc_per_node=1,
            notes=[
                (
                    40,
                    "not carried over, because only the cloud needs it: workdir, resources.infra, resources.cpus, resources.memory, resources.job_recovery",
                ),
                (47, "the command names no number of nodes: each of the 1500 runs a job of one node, which is what is written here"),
                (47, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
    ),
    "skypilot_falcon_train.yaml": (
        job(
            name="train",
            script="train.py",
            args=(
                "--model_name",
                "tiiuae/falcon-7b",
                "--max_seq_len",
                "2048",
                "--bf16",
                "--group_by_length",
                "--bnb_4bit_compute_dtype",
                "bfloat16",
                "--max_steps",
                "500",
                "--dataset_name",
                "timdettmers/openassistant-guanaco",
                "--output_dir",
                "/results",
            ),
            nproc_per_node=1,
            hardware="a100-80gb",
            env={"MODEL_NAME": "tiiuae/falcon-7b"},
            notes=[
                (11, "not carried over: WANDB_API_KEY, which may be a secret; set it in the environment"),
                (
                    13,
                    "not carried over, because only the cloud needs it: file_mounts, setup, resources.disk_size, resources.use_spot, resources.disk_tier",
                ),
                (32, "not carried over, and nothing of it is run: wandb login ..."),
                (34, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
    ),
    "skypilot_gpt_oss_sft.yaml": (
        job(
            name="train",
            script="/sft/train.py",
            args=("--model_id", "openai/gpt-oss-120b"),
            nnodes=4,
            nproc_per_node=8,
            hardware="h200",
            notes=[
                (5, "not carried over, because only the cloud needs it: file_mounts, setup, resources.network_tier"),
                (22, "not carried over, and nothing of it is run: source ~/training/bin/activate"),
                (
                    27,
                    "--config_file /sft/fsdp2_120b.yaml is not read; what it says and this line does not is missing (fakerun init --from /sft/fsdp2_120b.yaml imports it)",
                ),
                (27, "not carried over, because only a real launch needs it: --machine_rank, --main_process_ip, --main_process_port"),
            ],
        ),
    ),
    "skypilot_torchtitan.yaml": (
        job(
            name="torchtitan-multinode",
            module="torchtitan.train",
            args=("--job.config_file", "./torchtitan/models/llama3/train_configs/llama3_8b.toml", "--training.dataset", "c4_test"),
            nnodes=2,
            nproc_per_node=8,
            env={"CONFIG_FILE": "./torchtitan/models/llama3/train_configs/llama3_8b.toml"},
            notes=[
                (16, "resources.accelerators: H100 or H200 may be h100-80gb, h200; without a line `hardware:` it is h100-80gb"),
                (25, "not carried over: HF_TOKEN, which may be a secret; set it in the environment"),
                (27, "not carried over, because only the cloud needs it: setup, resources.disk_size"),
                (38, "not carried over, because only a real launch needs it: --master-addr, --master-port, --node-rank"),
            ],
        ),
    ),
    "skypilot_vicuna_train.yaml": Refused(
        'skypilot_vicuna_train.yaml:19: --nnodes is $(echo "$SKYPILOT_NODE_IPS" | wc -l): the value of $(echo "$SKYPILOT_NODE_IPS" | wc -l) is not in the file; write the number there'
    ),
    "slurm_srun.sbatch": (
        job(
            name="main",
            script="main.py",
            args=("--dist-backend", "nccl", "--epochs", "90"),
            nnodes=4,
            nproc_per_node=4,
            env={"MASTER_PORT": "12340", "WORLD_SIZE": "16", "MASTER_ADDR": "localhost"},
            launcher=Launcher.SLURM,
            notes=[
                (4, "--gres gpu:a100:4: a100 may be a100-40gb, a100-80gb, a100-pcie; without a line `hardware:` it is h100-80gb"),
                (
                    7,
                    'MASTER_ADDR is $(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1): written as localhost, because no peer is contacted',
                ),
            ],
        ),
    ),
    "slurm_torchrun.sbatch": (
        job(
            name="pretrain",
            module="package.train",
            args=("--job.config_file", "train_configs/llama3_70b.toml"),
            nnodes=16,
            nproc_per_node=8,
            env={"OMP_NUM_THREADS": "8"},
            notes=[
                (6, "not carried over, because only Slurm needs it: --cpus-per-task, --time"),
                (10, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
            ],
        ),
    ),
    "torchrun.txt": (
        job(name="train", script="train.py", args=("config/train_gpt2.py",), nproc_per_node=8, env={"NCCL_DEBUG": "WARN"}, notes=[]),
        job(
            name="pretrain",
            script="pretrain.py",
            args=("--tensor-parallel", "8"),
            nnodes=4,
            env={"OMP_NUM_THREADS": "1"},
            notes=[(2, "not carried over, because only a real launch needs it: --master-addr, --master-port, --node-rank")],
        ),
        job(name="package-cli", module="package.cli", args=("train", "--fast"), nproc_per_node=2, notes=[]),
        job(
            name="train-2",
            script="train.py",
            args=("--model", "tiny"),
            nproc_per_node=8,
            notes=[
                (
                    4,
                    "--config_file fsdp.yaml is not read; what it says and this line does not is missing (fakerun init --from fsdp.yaml imports it)",
                )
            ],
        ),
    ),
    "torchtitan_multinode_trainer.slurm": (
        job(
            name="torchtitan_multi_node",
            module="torchtitan.train",
            args=("--module", "llama3", "--config", "llama3_debugmodel"),
            nnodes=4,
            nproc_per_node=8,
            env={
                "LOGLEVEL": "INFO",
                "FI_PROVIDER": "efa",
                "NCCL_DEBUG": "WARN",
                "PYTHONFAULTHANDLER": "1",
                "CUDA_LAUNCH_BLOCKING": "0",
                "NCCL_SOCKET_IFNAME": "eth0,en,eth,em,bond",
                "NCCL_BUFFSIZE": "2097152",
                "FI_EFA_SET_CUDA_SYNC_MEMOPS": "0",
            },
            notes=[
                (21, "not carried over, because only Slurm needs it: --cpus-per-task, --partition"),
                (47, "not carried over: LD_LIBRARY_PATH, which says where things are on that machine"),
                (57, "MODULE is not set here: its default 'llama3' is taken"),
                (58, "CONFIG is not set here: its default 'llama3_debugmodel' is taken"),
                (60, "not carried over, and nothing of it is run: dcgmi profile ..."),
                (63, "not carried over, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id"),
                (63, "not carried over: the arguments that the script is called with ($@)"),
            ],
        ),
    ),
    "torchvision_references.txt": (
        job(name="train", script="train.py", args=("--model", "resnext50_32x4d", "--epochs", "100"), nproc_per_node=8, notes=[]),
        job(
            name="train-2",
            script="train.py",
            args=(
                "--model",
                "mobilenet_v2",
                "--epochs",
                "300",
                "--lr",
                "0.045",
                "--wd",
                "0.00004",
                "--lr-step-size",
                "1",
                "--lr-gamma",
                "0.98",
            ),
            nproc_per_node=8,
            notes=[],
        ),
    ),
    "torchx.txt": (
        job(
            name="train",
            script="train.py",
            args=("--lr", "1e-4"),
            nnodes=2,
            nproc_per_node=8,
            env={"NCCL_DEBUG": "INFO"},
            notes=[(1, "not carried over, because only a real launch needs it: --scheduler, --gpu")],
        ),
    ),
    "torchx_dist.txt": (
        job(
            name="main",
            script="main.py",
            nproc_per_node=4,
            notes=[(2, "not carried over, because only a real launch needs it: --scheduler")],
        ),
        job(
            name="main-2",
            script="main.py",
            nnodes=2,
            nproc_per_node=4,
            notes=[(5, "not carried over, because only a real launch needs it: --scheduler, --cfg")],
        ),
        job(
            name="main-3",
            script="main.py",
            nnodes=5,
            nproc_per_node=8,
            notes=[
                (11, "-j 2:5: the job is elastic, and written down at its largest"),
                (11, "not carried over, because only a real launch needs it: --scheduler"),
            ],
        ),
    ),
    "torchx_lightning.txt": (
        job(
            name="train",
            script="lightning/train.py",
            args=("--epochs=1", "--output_path=/tmp/torchx/train", "--log_path=/tmp/torchx/logs", "--skip_export"),
            nproc_per_node=2,
            notes=[(1, "not carried over, because only a real launch needs it: --scheduler")],
        ),
    ),
    "torchx_lsf.txt": (
        job(
            name="dist_app",
            script="/data/dist_app.py",
            nnodes=2,
            nproc_per_node=2,
            notes=[
                (1, "not carried over, and nothing of it is run: cp dist_app.py ..."),
                (2, "not carried over, because only a real launch needs it: --scheduler, --cfg, --gpu, --mount"),
            ],
        ),
    ),
    "torchx_slurmtest.sh": Refused(
        "torchx_slurmtest.sh:1: no command starts ranks; those that are read: torchrun, python -m torch.distributed.run, accelerate launch, torchx run dist.ddp, srun python, python"
    ),
    "torchx_spmd.txt": (
        job(
            name="my_experiment-trial_1",
            module="path.to.my.trainer",
            args=("-foo", "bar"),
            nnodes=2,
            nproc_per_node=8,
            hardware="a100-40gb",
            notes=[],
        ),
        job(name="trainer", script="path/to/my/trainer.py", nnodes=2, hardware="a100-40gb", notes=[]),
    ),
    "trainjob_grpo.yaml": (
        job(
            name="grpo-example",
            nproc_per_node=2,
            env={"NUM_GENERATIONS": "4", "LEARNING_RATE": "5e-7"},
            notes=[
                (12, "not carried over, because only the cluster needs it: initializer"),
                (18, "no script is named: the command is that of the runtime grpo-distributed, which is not in the file"),
            ],
        ),
    ),
    "trainjob_lifecycle.yaml": (
        job(
            name="my-trainjob",
            script="train.py",
            notes=[
                (7, "not carried over, because only the cluster needs it: activeDeadlineSeconds"),
                (13, "not carried over, because only the cluster needs it: image"),
            ],
        ),
    ),
    "trainjob_migration.yaml": (
        job(
            name="pytorch-simple",
            script="/opt/pytorch-mnist/mnist.py",
            args=("--epochs=1",),
            nnodes=2,
            nproc_per_node=1,
            notes=[
                (10, "not carried over, because only the cluster needs it: image"),
                (11, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
    ),
    "trainjob_mnist.yaml": (
        job(
            name="pytorch-mnist",
            script="/opt/pytorch-mnist/mnist.py",
            args=("--epochs=1", "--batch-size=64", "--lr=0.01", "--log-interval=10"),
            nproc_per_node=1,
            notes=[
                (17, "not carried over, because only the cluster needs it: image"),
                (18, "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"),
            ],
        ),
    ),
    "trainjob_runtime_patches.yaml": Refused(
        "trainjob_runtime_patches.yaml:47: --no-python starts no Python program, and only these can be simulated; name the script in its place"
    ),
}
"""By file."""
