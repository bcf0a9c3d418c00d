"""What several runs say together: theory, calibration, comparison, validation and the claims of the report."""
