"""The app, apart from its tasks, so that whatever needs the app can import it."""

from taskq import TaskQ

app = TaskQ("proj", broker="sqlite:///taskq.db", include=["proj.tasks"])
