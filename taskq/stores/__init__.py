"""Clients of stores that a broker and a result store may share."""
