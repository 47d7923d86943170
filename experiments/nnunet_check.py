"""nnU-Net's own check of an exported data set, and its plan for it.

nnU-Net is no dependency of this project; give it an environment of its own. Planning alone needs no torchvision, which
one of its dependencies asks for (timm), so these are installed by name::

    python3 -m venv nnenv
    nnenv/bin/pip install torch==2.13.0 numpy pandas scipy scikit-image scikit-learn SimpleITK nibabel tifffile tqdm \
        requests matplotlib seaborn einops blosc2 imagecodecs yacs graphviz
    nnenv/bin/pip install --no-deps nnunetv2==2.8.1 batchgenerators batchgeneratorsv2 acvl-utils \
        dynamic-network-architectures

    python -m tte_tee data phantom --domain tee --patients 10 --out tee.h5
    python -m tte_tee export nnunet --store tee.h5 --out nnUNet_raw --id 501 --name TEE
    nnenv/bin/python experiments/nnunet_check.py nnUNet_raw 501
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Verifies, takes the fingerprint and plans; an assertion or a traceback is a data set that nnU-Net refuses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="folder nnUNet_raw")
    parser.add_argument("id", type=int, help="number of the data set")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        # nnU-Net reads these when it is imported.
        raw = str(options.raw.resolve())
        os.environ.update({"nnUNet_raw": raw, "nnUNet_preprocessed": temporary, "nnUNet_results": temporary})
        from nnunetv2.experiment_planning.plan_and_preprocess_api import (
            extract_fingerprint_dataset,
            plan_experiment_dataset,
        )

        print("nnunetv2", version("nnunetv2"))
        fingerprint = extract_fingerprint_dataset(options.id, num_processes=2, check_dataset_integrity=True)
        plan, _ = plan_experiment_dataset(options.id)
        print("spacings (mm)", sorted({tuple(round(float(s), 4) for s in row) for row in fingerprint["spacings"]})[:5])
        print("configurations", sorted(plan["configurations"]))
        settings = plan["configurations"]["2d"]
        print({key: settings[key] for key in ("patch_size", "spacing", "normalization_schemes", "batch_size")})
        (splits,) = Path(temporary).glob("*/splits_final.json")
        print("folds", [{name: len(cases) for name, cases in fold.items()} for fold in json.loads(splits.read_text())])


if __name__ == "__main__":
    main()
