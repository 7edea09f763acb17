#!/bin/bash
# A batch job on a cluster, in an activated environment that has dolfinx and the cluster's own MPI.
#SBATCH --job-name=morpho
#SBATCH --ntasks=32
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
# USR1 five minutes before the end: morpho finishes the iteration under way and writes a checkpoint.
# Submitted again, the job goes on where the last one stopped, on any number of tasks.

problem=${1:?usage: sbatch scripts/slurm_example.sh problems/NAME.yaml}
run=runs/$(basename "$problem" .yaml)

if [ -e "$run/checkpoint" ]; then
    srun python3 -m morpho resume "$run"
else
    srun python3 -m morpho solve "$problem" --output "$run" --overwrite # of a run without a checkpoint
fi
