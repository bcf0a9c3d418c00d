"""Consuming: how an entry comes from its stream to a handler, and how it is settled."""
