#!/bin/bash
# A batch job on a cluster, in an activated environment that has dolfinx and the cluster's own MPI.
#SBATCH --job-name=morpho
#SBATCH --ntasks=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
# morpho ends by itself before the time is up (and on USR1, two minutes before), writes a checkpoint, and exits with 130.
# The job then puts itself into the queue again, and goes on where it stopped, until the run has come to its end.

problem=${1:?usage: sbatch scripts/slurm_example.sh problems/NAME.yaml}
run=runs/$(basename "$problem" .yaml)

if [ -e "$run/checkpoint" ]; then
    srun python3 -m morpho resume "$run" --time-limit 3h50m
else
    srun python3 -m morpho solve "$problem" --output "$run" --overwrite --time-limit 3h50m # of a run without a checkpoint
fi
status=$?
if [ $status = 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
