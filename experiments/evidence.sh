#!/usr/bin/env bash
# What the frames of one adapter are worth before anything is trained on them: mask fidelity, fidelity, copies.
#
#   experiments/evidence.sh WORK_FOLDER [MOBILENET_V2_WEIGHTS]
#
# Adapts lora_mlp to the phantom's adaptation cohort and draws, at guidance 1 and 2, for masks of its validation
# patients, of its training patients and of 24 patients of the pool. No test patient is read. Stores and runs stay in
# WORK_FOLDER; what is given again is not done again.
set -euo pipefail
work=$1 weights=${2:-}
tte_tee() { python -m tte_tee "$@"; }
make_store() { [ -f "$1" ] || tte_tee "${@:2}" --out "$1"; }
train() { [ -d "$work/runs/$1/version_0/$2" ] || tte_tee fit --config "lightning_configs/${3:-$1}.yaml" \
  --trainer.logger.init_args.save_dir "$work/runs" --trainer.logger.init_args.name "$1" \
  --trainer.logger.init_args.version 0 --trainer.precision bf16-mixed "${@:4}"; }

make_store "$work/adaptation.h5" data phantom --cohort adaptation
make_store "$work/base.h5" data phantom --cohort base
make_store "$work/pool.h5" data phantom --cohort pool
make_store "$work/others.h5" data split "$work/pool.h5" --val 0.1 --test 0
make_store "$work/control.h5" data subset "$work/pool.h5" --patients 24

for arm in maskr2_only lora_mlp; do
  train $arm adapter $arm --data EchoDataModule --data.store "$work/adaptation.h5"
done
train seg_others segmenter seg_others --data.real "$work/others.h5" --data.test "$work/adaptation.h5"
train seg_real segmenter seg_real --data.real "$work/adaptation.h5" --data.test "$work/others.h5"

draw() { make_store "$work/$1.h5" synthesize --adapter "$work/runs/$2/version_0/adapter" --masks "$3" "${@:4}"; }
draw unadapted maskr2_only "$work/control.h5"
extractors=(--extractor "segmenter=$work/runs/seg_real/version_0/segmenter")
[ -z "$weights" ] || extractors+=(--extractor "mobilenet_v2=$weights")
for guidance in 1 2; do
  at=(--guidance $guidance)
  draw "val_$guidance" lora_mlp "$work/adaptation.h5" --split val --samples-per-mask 2 "${at[@]}"
  draw "train_$guidance" lora_mlp "$work/adaptation.h5" --split train "${at[@]}"
  draw "control_$guidance" lora_mlp "$work/control.h5" "${at[@]}"
  tte_tee evaluate masks --synthetic "$work/val_$guidance.h5" --segmenter "$work/runs/seg_others/version_0/segmenter" \
    --real "$work/adaptation.h5" --split val --out "$work/masks_$guidance"
  tte_tee evaluate fidelity --real "$work/pool.h5" --split train --synthetic "$work/control_$guidance.h5" \
    --ceiling "$work/unadapted.h5" "${extractors[@]}" --out "$work/fidelity_$guidance"
  tte_tee evaluate copies --synthetic "$work/train_$guidance.h5" --trained-on "$work/adaptation.h5" \
    --held-out "$work/pool.h5" --control "$work/control_$guidance.h5" --out "$work/copies_$guidance"
  tte_tee filter "$work/train_$guidance.h5" --segmenter "$work/runs/seg_real/version_0/segmenter" \
    --adaptation "$work/adaptation.h5" --out "$work/filtered_$guidance.h5" || true # nothing may be left
done
python experiments/evidence.py "$work" experiments/results/evidence
