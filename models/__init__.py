"""Encoders, decoders, and the folder that a trained captioner is kept in."""
