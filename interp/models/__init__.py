"""Text-to-image models: one adapter per family behind one interface. Start with `families.load`."""
