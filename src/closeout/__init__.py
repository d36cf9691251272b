"""A margin, liquidation and deficit engine for futures accounts."""

__version__ = "0.1.0"
