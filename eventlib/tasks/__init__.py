"""Tasks: how they are enqueued, waited for and cancelled, and how workers run them."""
