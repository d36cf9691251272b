"""Marks from the outside world: live market data in, graded and chosen between."""
