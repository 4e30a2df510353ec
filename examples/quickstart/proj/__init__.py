"""The package of an application; `taskq -A proj` finds the app in proj/app.py."""
