"""What users' own tests need: a private server, a fault proxy, an inspector of what the server knows."""
