"""The HTTP API: one table of routes, checked at the door, answered from the engine's state and the store."""
