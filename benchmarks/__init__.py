"""Speeds as ratios: ours and a named peer in one run, taking turns, on one machine."""
