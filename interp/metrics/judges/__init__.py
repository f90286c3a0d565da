"""Judges: they name the culture that an image shows, from its pixels alone (section 3 of the paper, CultureVQA)."""
