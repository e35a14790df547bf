#!/usr/bin/env bash
# Paints on machines of a Slurm cluster: sbatch samples/slurm.sh clip.mp4 painting.jpg painted.mp4
# Submitted again, it resumes.
#SBATCH --job-name=impasto
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail
content=$1 style=$2 output=$3

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent hosts "$head" | awk '{print $1; exit}'):6379

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port=6379 --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus=1 --block &
sleep 20
srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" \
    ray start --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus=1 --block &
sleep 20

# Slurm sends SIGTERM five minutes before the time limit, and impasto finishes the frames in flight.
impasto stylize "$content" --style "$style" --output "$output" --executor ray --address "$address" &
painting=$!
trap 'kill -TERM "$painting"' TERM
wait "$painting" || wait "$painting"
