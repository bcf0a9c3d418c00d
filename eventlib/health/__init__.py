"""What a bus offers to look at: its health, endpoints for probes, and metrics."""
