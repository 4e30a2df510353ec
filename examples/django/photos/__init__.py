"""An app: photos, their thumbnails, and a report each day."""
