"""Judges: they name the culture that a picture shows, from its pixels alone (section 3 of the paper, CultureVQA)."""
