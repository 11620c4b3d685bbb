"""The knowledge as frozen objects: the language of its conditions, the form of its files, what loads and checks it."""
