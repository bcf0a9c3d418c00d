"""The two worlds that a scenario runs in; they never import each other."""
