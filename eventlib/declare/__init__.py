"""Declarations: which handlers take which messages, and with which settings. Making one does no I/O."""
