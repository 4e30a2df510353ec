"""The tables in Django's admin."""
