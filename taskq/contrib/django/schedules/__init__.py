"""The schedule store in Django's databases."""
