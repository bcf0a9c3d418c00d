"""Declarations: load, service times, faults, the scenario they make, and the plan that a seed draws from it."""
