"""Long runs in which processes are killed while they work: `make campaign`. The tests run a short form of each."""
