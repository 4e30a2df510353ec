"""An app of the project that the tests run in."""
