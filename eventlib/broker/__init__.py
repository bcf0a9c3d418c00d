"""Everything that talks to Redis: connections, key names, scripts, and the commands of each journey."""
