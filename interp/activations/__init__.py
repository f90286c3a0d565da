"""What a text encoder computes: capture, attention contrast, patching, a probe; and the certificate of a model."""
