"""Looking after stores: inspect, verify, merge, split, subset, and their datasheet."""
