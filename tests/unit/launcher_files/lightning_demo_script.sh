#!/bin/bash
# Shortened: comments and lines that are ruled are left out.
#SBATCH --job-name=lightning_test
#SBATCH --output=/slurm_output_%j.out
#SBATCH --error=/slurm_output_%j.err
#SBATCH --time=01:00:00
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=10
#SBATCH --nodes=2
#SBATCH --mem=0
#SBATCH --signal=USR1@300
#SBATCH --comment=lightning_demo
#SBATCH --ntasks-per-node=8

source activate YourEnv

# debugging flags (optional)
export NCCL_DEBUG=INFO
export PYTHONFAULTHANDLER=1

# random port between 12k and 20k
export MASTER_PORT=$((12000 + RANDOM % 20000))$

srun python multi_node_own_slurm_script.py
