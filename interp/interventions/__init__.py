"""Edits of the text encoder, and images drawn under them."""
