"""The pages: Portfolio and Risk desk, built out of frontend/, and how they are served."""
