"""Edits of the text encoder, and pictures under them."""
