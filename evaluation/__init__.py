"""How good captions are: scores against people's captions, and against what is annotated."""
