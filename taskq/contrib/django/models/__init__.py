"""The tables of taskq in the project's database."""
