"""Results in the project's database, with workers that share it."""

from __future__ import annotations

from tests.django.projects import Project

BODY = """
@shared_task
def body(values):
    Note.objects.create(text=str(sum(values)))
    return sum(values)
"""


def test_the_body_of_a_chord_runs_once_and_sees_all_members(project: Project) -> None:
    project.add("work/tasks.py", BODY)
    project.set(TASKQ_RESULT_BACKEND="django-db", TASKQ_TASK_TRACK_STARTED=True)
    project.manage("migrate", "--run-syncdb", "-v0")
    workers = [project.worker("-c", "2", "-n", f"{name}@%h") for name in "ab"]
    said = project.shell("""
        from taskq import chord
        from taskq.contrib.django.models import TaskResult
        from work.models import Note
        from work.tasks import add, body
        sent = [chord([add.s(n, n) for n in range(40)], body.s()).delay() for _ in range(5)]
        print({result.get(timeout=50) for result in sent}, Note.objects.count())
        row = TaskResult.objects.get(task_id=sent[0].id)
        print(row.name, row.state, row.value, row.queue, row.worker[:2])
    """)
    first, second = said.splitlines()
    assert first == "{1560} 5"
    assert second in {f"work.tasks.body SUCCESS 1560 default {name}@" for name in "ab"}
    assert [worker.stop() for worker in workers] == [0, 0]
