"""From its stream to a handler, and what becomes of it."""
