"""From an event to its stream."""
