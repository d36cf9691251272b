"""The durable log of inputs: SQLite by default. See `journal.Journal` and `verify.verify`."""
