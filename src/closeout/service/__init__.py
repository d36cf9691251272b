"""The running system around one engine."""
