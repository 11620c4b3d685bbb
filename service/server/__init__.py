"""How the service runs: processes and threads, how much they take on, what they write down and let be measured."""
