"""Result stores in Django's databases and caches."""
