"""Learning a scenario from a system that runs: watching its group, estimating what it does, writing it down.

`watch` looks at the group and makes a Recording. `estimate` is pure: what a Recording tells. `write` makes the files.
"""
