"""The settings, declared in groups."""
