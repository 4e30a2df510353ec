import argparse, sys
from tests.faults.worker_app import app
from taskq.log import setup_logging

p = argparse.ArgumentParser()
p.add_argument("-c", type=int)
p.add_argument("-l")
p.add_argument("-n")
p.add_argument("-P")
p.add_argument("-Q")
p.add_argument("--max-tasks-per-child", type=int)
p.add_argument("--time-limit", type=float)
p.add_argument("--soft-time-limit", type=float)
a = p.parse_args()
setup_logging(app.conf, a.l)
sys.exit(
    app.Worker(
        concurrency=a.c,
        hostname=a.n,
        pool=a.P,
        max_tasks_per_child=a.max_tasks_per_child,
        time_limit=a.time_limit,
        soft_time_limit=a.soft_time_limit,
        queues=a.Q.split(",") if a.Q else None,
        app_spec="tests.faults.worker_app",
    ).run()
)
