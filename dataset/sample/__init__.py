"""The drawn sample: scenes, what is said of them, and how they are painted."""
