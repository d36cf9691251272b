"""Nightly reports and the weekly stress, as CSV and as pages for the printer (US-17, US-22; docs/reports.md)."""
