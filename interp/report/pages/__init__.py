"""Pages: of a study, of its latents, of one value."""
