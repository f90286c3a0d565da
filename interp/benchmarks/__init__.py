"""Prompts in pairs and reference pictures, in CultureBench format."""
