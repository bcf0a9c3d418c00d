"""Waiting for events by their correlation id: for what a publish brings about, and for the reply to a request."""
