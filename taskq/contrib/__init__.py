"""Bridges to other software; each is loaded by those who use it."""
