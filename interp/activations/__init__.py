"""What a text encoder computes: capture, attention contrast, patching."""
