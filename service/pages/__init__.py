"""What a person reads in a browser. No page asks another host for anything."""
