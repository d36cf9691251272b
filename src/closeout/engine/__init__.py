"""The deterministic machine: commands in, events out; the book, the close-out, the waterfall and the ledger."""
