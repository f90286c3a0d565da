"""What researchers run: paired arms, matched controls, statistics."""
