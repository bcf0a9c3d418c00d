"""Long runs of real processes that are killed again and again. Each judges by what is left in the end."""
