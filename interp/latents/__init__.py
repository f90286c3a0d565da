"""Sparse autoencoders, and the latents that are a culture's neurons."""
