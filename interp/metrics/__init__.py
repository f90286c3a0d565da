"""Measures of images: `base` says what one is, `registry` finds one by name, `run` runs them."""
