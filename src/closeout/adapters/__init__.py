"""The outside world behind small protocols: market data in, account files in, orders out."""
