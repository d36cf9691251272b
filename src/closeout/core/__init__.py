"""Facts and formulas: units, contracts, positions, margin, risk and sessions; pure integer arithmetic."""
