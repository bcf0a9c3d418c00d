"""The client: for a program that publishes and asks, and handles nothing."""
