"""Sagas at work: their acts are messages that travel through the delivery loop of a consumer group."""
