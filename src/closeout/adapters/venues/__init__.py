"""The places that fill close-out orders, real or simulated."""
