"""The library's commands in a terminal."""
