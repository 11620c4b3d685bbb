"""The product: clinical knowledge, the logic that reads it, and the cards that come of it."""
