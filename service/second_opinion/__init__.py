"""The questions whose answers would change the advice, for whoever can answer them: as an adaptive form."""
