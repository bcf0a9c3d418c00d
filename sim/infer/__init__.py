"""What the evidence says beyond one run: theory, calibration, comparison, validation."""
