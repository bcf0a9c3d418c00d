"""Typed events: how they are declared, written, read, exported and compared."""
