"""Everything that holds frames: stores, the packer, the phantom, batches, pictures."""
