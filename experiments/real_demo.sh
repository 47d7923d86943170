#!/usr/bin/env bash
# Real echo, end to end, for every arm: a base on CAMUS, adapted to frames 0-19 of one TEE cine, drawn for the masks of
# frames 24-32 and scored; then a segmenter of frames 0-15, with and without drawn frames, tested on frames 24-32.
# A single-patient demonstration: it shows that the machinery works on acquired frames, not that it generalises.
#
#   experiments/real_demo.sh CAMUS_FOLDER CINE_FOLDER WORK_FOLDER [WEIGHTS_FOLDER]
#
# CAMUS_FOLDER and CINE_FOLDER are laid out as data/README.md says; WEIGHTS_FOLDER may hold mobilenet_v2*.pth and
# lpips*.npz (`evaluate fidelity --help`), without which KID and LPIPS are left out. Frames stay in WORK_FOLDER; tables
# come on stdout, numbers go into $RESULTS. What is given again goes on where it was, and what is there is kept: other
# lengths take another WORK_FOLDER.
#
# The base takes 3,000 steps, half of the shipped one's: that is half an hour of two cores (72 minutes without bfloat16;
# all of it two and a half hours), and the loss of the shipped one's other half was .002 of .078. $BASE_STEPS, $ADAPT_STEPS and $SEG_STEPS change the lengths, for a trial. PRECISION=32
# is for CPUs that do not know bfloat16, which would emulate it.
set -euo pipefail
camus=$1 cine=$2 work=$3 weights=${4:-}
precision=${PRECISION:-bf16} base_steps=${BASE_STEPS:-3000} adapt_steps=${ADAPT_STEPS:-300} seg_steps=${SEG_STEPS:-400}
results=${RESULTS:-experiments/results/real_demo}
arms=(maskr2_only lora_ca_only lora_linear_only lora_attention lora_mlp lora_conv lora_full full_finetune scratch)
mixed=(lora_mlp lora_full full_finetune)
seeds=(0 1 2)
declare -A trained_in=([bf16]=bf16-mixed [32]=32-true)
two=(--trainer.devices 2 --trainer.strategy ddp --data.batch_size 8) # processes of one thread: faster than threads

tte_tee() { python -m tte_tee "$@"; }
make_store() { [ -f "$1" ] || tte_tee "${@:2}" --out "$1"; }
judge() { [ -f "$work/$1" ] || tte_tee evaluate "${@:2}" --out "$work/$(dirname "$1")"; }
train() { # NAME WHAT_IT_LEAVES CONFIG OPTION...
  [ -d "$work/runs/$1/version_0/$2" ] || tte_tee fit --config "lightning_configs/$3.yaml" --resume auto \
    --trainer.logger.init_args.save_dir "$work/runs" --trainer.logger.init_args.name "$1" \
    --trainer.logger.init_args.version 0 --trainer.accelerator cpu --trainer.precision "${trained_in[$precision]}" "${@:4}"
}

mkdir -p "$work"
make_store "$work/camus64.h5" data pack data/camus224.yaml --root "$camus"
for part in adapt later part_train part_val part_test; do
  make_store "$work/tee_${part}64.h5" data pack "data/tee_cine_$part.yaml" --root "$cine"
done
make_store "$work/tee_parts64.h5" data merge "$work"/tee_part_{train,val,test}64.h5

OMP_NUM_THREADS=1 train base_camus base base_tte "${two[@]}" --data EchoDataModule --data.store "$work/camus64.h5" \
  --trainer.max_steps "$base_steps" --trainer.val_check_interval 500 --previews.every_n_steps 1000

extractors=()
for kind in mobilenet_v2 lpips; do
  for file in ${weights:+"$weights/$kind"*.pth "$weights/$kind"*.npz}; do
    [ ! -f "$file" ] || extractors+=("${kind/%lpips/lpips_alexnet}=$file")
  done
done
[ ${#extractors[@]} -eq 0 ] || extractors=(--extractor "${extractors[@]}")

drawn=()
for arm in "${arms[@]}"; do
  steps=("${two[@]}" --trainer.max_steps "$adapt_steps")
  [ "$arm" != maskr2_only ] || steps=() # trains nothing
  OMP_NUM_THREADS=1 train "real_$arm" adapter "$arm" --model.base "$work/runs/base_camus/version_0/base" \
    --data EchoDataModule --data.store "$work/tee_adapt64.h5" --model.maskr2.background '[tissue]' "${steps[@]}"
  for masks in later train; do
    of=(--masks "$work/tee_later64.h5")
    [ $masks = later ] || of=(--masks "$work/tee_parts64.h5" --split train)
    make_store "$work/${arm}_$masks.h5" synthesize --adapter "$work/runs/real_$arm/version_0/adapter" "${of[@]}" \
      --guidance 2 --guided-below 0.6 --steps 12 --precision "$precision" --samples-per-mask 4
    judge "copies_${arm}_$masks/copies.json" copies --synthetic "$work/${arm}_$masks.h5" \
      --trained-on "$work/tee_adapt64.h5" # nobody else is held out, so that no share is estimable
  done
  # The adapter knows the only patient there is, which --allow-seen has the record say; KID takes the 9 frames at once.
  judge "fidelity_$arm/fidelity.json" fidelity --real "$work/tee_later64.h5" --synthetic "$work/${arm}_later.h5" \
    --ceiling "$work/maskr2_only_later.h5" "${extractors[@]}" --allow-seen --kid-subset 9 --kid-subsets 1
  drawn+=("$arm=$work/${arm}_later.h5")
done
[ -f "$work/pairs.json" ] || python experiments/pairs.py --acquired "$work/tee_later64.h5" \
  --trained-on "$work/tee_adapt64.h5" --out "$work/pairs.json" --picture "$work/grid.png" "${drawn[@]}"

segment() { # NAME CONFIG SEED OPTION...
  local name=$1_seed$3
  train "$name" segmenter "$2" --seed_everything "$3" --data.real "$work/tee_parts64.h5" \
    --data.test "$work/tee_parts64.h5" --trainer.max_steps "$seg_steps" "${@:4}"
  judge "dice_$name/metrics.json" segmenter --segmenter "$work/runs/$name/version_0/segmenter" \
    --store "$work/tee_parts64.h5"
}
for seed in "${seeds[@]}"; do
  segment seg_real seg_real "$seed"
  for arm in "${mixed[@]}"; do
    segment "seg_$arm" seg_mix_1to1 "$seed" --data.synthetic "$work/${arm}_train.h5"
  done
done
python experiments/real_demo.py "$work" "$results"
