"""Ten functions that run, look fine and are wrong, each a real mistake of a well-known captioning project."""
