"""What an operator does: dead letters, trimming, health."""
