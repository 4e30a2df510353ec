"""A backend for Django's own tasks, `django.tasks`."""
