"""Measures of pictures: `base` says what one is, `registry` finds one by name, `measured` runs them."""
