"""The project; `taskq -A gallery` finds its app by itself."""
