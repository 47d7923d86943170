"""Everything that holds frames: stores, the packer, the phantom, batches, pictures."""

import os

# Else albumentations asks the network for updates.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
