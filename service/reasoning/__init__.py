"""The case by the knowledge: causes ranked, what is called for, what to ask next. Pure."""
