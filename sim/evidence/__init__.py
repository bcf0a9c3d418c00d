"""What happened, and what follows from it: histories, metrics, checks. Pure."""
