#!/usr/bin/env bash
# The paper's run, 32 prompts of 12 images an iteration, on 4 machines of 8 GPUs of 80 GB:
#
#   sbatch examples/launch/slurm.sh model.path=/models/FLUX.1-dev
#
# Folders, weights and the environment are on a disk that all machines see. A lost process is started again, and so is
# the job; both go on from the last checkpoint.
#SBATCH --job-name=mixgrpo
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300   # five minutes before the time is over: stop after the iteration, and save
set -euo pipefail

run=${RUN:-runs/flux-dev-hpdv2}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun torchrun \
    --nnodes="$SLURM_NNODES" --nproc-per-node="${SLURM_GPUS_ON_NODE:-8}" \
    --rdzv-backend=c10d --rdzv-endpoint="$first:29500" --rdzv-id="$SLURM_JOB_ID" \
    --max-restarts=3 --shutdown-timeout=290 \
    -m mixgrpo train "${RECIPE:-flux-dev-hpdv2-80gb}" "$@" --out "$run" --continue
