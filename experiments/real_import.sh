#!/usr/bin/env bash
# Every real file at hand becomes a store: CAMUS as PNGs, a TEE cine, TEE stills, ultrasound DICOM.
#
#     bash experiments/real_import.sh DATA_FOLDER OUT_FOLDER
#
# The first two DICOM files have no usable tags, or text near the sector: 'sector: estimate' is refused for
# them, as for every private file whose sector is unsure, so a person says where the picture is.
set -euo pipefail
data=$1 out=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tte_tee() { python -m tte_tee data "$@"; }
mkdir -p "$out"

tte_tee pack "$here/data/camus224.yaml" --root "$data/camus224" --out "$out/camus64.h5"
tte_tee pack "$here/data/tee_cine_adapt.yaml" --root "$data/tee_me4c_cine" --out "$out/tee_adapt64.h5"
tte_tee pack "$here/data/tee_cine_later.yaml" --root "$data/tee_me4c_cine" --out "$out/tee_later64.h5"
tte_tee pack "$here/data/tee_stills.yaml" --root "$data/tee_stills" --out "$out/tee_stills64.h5"

dicom() { # NAME PATTERN VIEW EXTRA_KEY
  cat > "$out/$1.yaml" <<RECIPE
type: dicom
name: $1
licence: MIT
images: '$2'
masks: none
patient: "$1"
view: $3
salt: dicom.salt
label_space: tee
size: 128
split: test
spacing: from files
$4
RECIPE
  tte_tee pack "$out/$1.yaml" --root "$data" --out "$out/$1.h5"
}
dicom a4c_cine 'tte_dicom/color3d_jpeg_baseline\.dcm' A4C 'sector: estimate'
dicom a4c_small 'tte_dicom/examples_ybr_color\.dcm' A4C $'region: [15, 42, 208, 298]\nsector: estimate'
dicom still_with_text 'tte_dicom/JPGLosslessP14SV1_1s_1f_8b\.dcm' other $'region: [155, 140, 632, 910]\nsector: estimate'
dicom tee_doppler 'tee_dicom/gdcm-US-RGB-8-esopecho\.dcm' other \
  'sector: {apex: [-78, 148], edges: [-33, 30.5], radii: [0, 198]}'

tte_tee verify "$out"/*.h5
