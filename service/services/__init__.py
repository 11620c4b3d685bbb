"""The CDS services, each for its hooks, and the whole decision about one request for who asks why."""
