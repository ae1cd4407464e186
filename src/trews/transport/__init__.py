"""Transports: how bytes travel. Each is an `asyncio.Transport`; listeners and connectors make them."""
