"""Show-o2, which runs in an environment of its own."""
