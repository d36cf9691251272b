"""Work on many accounts and rulebooks at once: replays, comparisons and reports."""
