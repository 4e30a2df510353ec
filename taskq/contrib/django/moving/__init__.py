"""Moving what django-celery-beat and django-celery-results have in the database."""
