"""For people: figures, the report, the terminal."""
