"""Every conversation with Redis: connections, key names, scripts, and the commands of each journey."""
