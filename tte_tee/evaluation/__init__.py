"""What frames and segmenters are worth: masks found, fidelity, copies, filters; stores in, JSON and pictures out."""
