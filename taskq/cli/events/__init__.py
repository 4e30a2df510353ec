"""``taskq events``: events as lines, as a live view, or for a camera."""
