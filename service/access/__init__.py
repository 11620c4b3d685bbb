"""Who may call, and what is remembered of it."""
