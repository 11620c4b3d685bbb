"""What of the knowledge is in force: digests of its content, signatures over them, and the state that follows."""
