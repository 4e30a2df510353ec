"""Django: tasks at home in a project; ``INSTALLED_APPS += ["taskq.contrib.django"]`` does it."""
