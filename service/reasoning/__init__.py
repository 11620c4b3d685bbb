"""The case by the guideline: causes ranked, what is called for, what to ask next. Pure."""
