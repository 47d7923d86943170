#!/usr/bin/env bash
# Real echo, end to end: a base on CAMUS, adapted to 20 frames of one TEE cine, drawn on 9 later masks of it.
# A single-patient demonstration: it shows that the machinery works on acquired frames, not that it generalises.
#
#   experiments/real_demo.sh CAMUS_FOLDER CINE_FOLDER WORK_FOLDER
#
# CAMUS_FOLDER and CINE_FOLDER are laid out as data/README.md says. Frames stay in WORK_FOLDER.
set -euo pipefail
camus=$1 cine=$2 work=$3
tte_tee() { python -m tte_tee "$@"; }
results=experiments/results/real_demo

tte_tee data pack data/camus224.yaml --root "$camus" --out "$work/camus64.h5"
tte_tee data pack data/tee_cine_adapt.yaml --root "$cine" --out "$work/tee_adapt64.h5"
tte_tee data pack data/tee_cine_later.yaml --root "$cine" --out "$work/tee_later64.h5"

base=$work/runs/base_camus/version_0/base
[ -d "$base" ] || tte_tee fit --config lightning_configs/base_tte.yaml \
  --data EchoDataModule --data.store "$work/camus64.h5" --trainer.precision bf16-mixed \
  --trainer.logger.init_args.save_dir "$work/runs" --trainer.logger.init_args.name base_camus

drawn=()
for arm in maskr2_only lora_mlp lora_full; do
  tte_tee fit --config "lightning_configs/$arm.yaml" --model.base "$base" --model.maskr2.background '[tissue]' \
    --data EchoDataModule --data.store "$work/tee_adapt64.h5" \
    --trainer.logger.init_args.save_dir "$work/runs" --trainer.logger.init_args.name "real_$arm" \
    --trainer.logger.init_args.version 0
  tte_tee synthesize --adapter "$work/runs/real_$arm/version_0/adapter" --masks "$work/tee_later64.h5" \
    --out "$work/$arm.h5"
  drawn+=("$arm=$work/$arm.h5")
done

python experiments/pairs.py --acquired "$work/tee_later64.h5" --trained-on "$work/tee_adapt64.h5" \
  --out "$results/pairs.json" --picture "$work/grid.png" "${drawn[@]}"
