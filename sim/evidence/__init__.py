"""What happened in a run, and the numbers and verdicts that follow from it. Pure functions of histories."""
