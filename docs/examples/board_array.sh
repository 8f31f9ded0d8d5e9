#!/bin/bash
# A board as a SLURM array: one model a task, results in one folder. Submit it twice:
#   job=$(sbatch --parsable board_array.sh)
#   sbatch --dependency=afterany:"$job" --array=0 --export=ALL,PAGE=1 board_array.sh
#SBATCH --job-name=eva-board
#SBATCH --array=0-3
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --output=board-%A_%a.log
set -euo pipefail

models=(kaiko_vits16 phikon_v2 uni2_h h_optimus_1) # --array counts them from 0
OUTPUT=${OUTPUT:-$SLURM_SUBMIT_DIR/out/board} # a file system that every node sees, as are these two
export DATA_ROOT=${DATA_ROOT:-$SLURM_SUBMIT_DIR/data}
export EVA_CACHE=${EVA_CACHE:-$SLURM_SUBMIT_DIR/cache}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-8}

board() { # its arguments are the models; all else has to be the same in every task
  printf 'name: cluster\ntitle: Our models\nprotocol: strict\nheads: [linear]\nmodels: [%s]\ntasks: [bach, crc, mhist]\n' \
    "$(IFS=,; echo "$*")"
}

mkdir -p "$OUTPUT"
if [ -n "${PAGE:-}" ]; then # the second job: every model on one page
  board colour_stats "${models[@]}" > "$OUTPUT/board.yaml"
  eva leaderboard --config "$OUTPUT/board.yaml" --output "$OUTPUT" --workers 7
else
  model=${models[$SLURM_ARRAY_TASK_ID]}
  board "$model" > "$OUTPUT/board-$model.yaml"
  eva leaderboard --config "$OUTPUT/board-$model.yaml" --output "$OUTPUT" --workers 7
fi
