"""What a worker must not do with the rights of root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.app import TaskQ


def refuse_pickle_as_root(app: TaskQ) -> None:
    """Whoever can send a message that is pickled can run any code, which is not to be root's.

    Raises:
        ImproperlyConfigured: pickle is accepted, and the process is root's.
    """
    if os.geteuid() or os.environ.get("C_FORCE_ROOT"):
        return
    if "application/x-python-serialize" in app.serializers.content_types(app.conf.accept_content):
        raise ImproperlyConfigured(
            "accept_content lets in pickle, by which whoever can send a message runs any code, and "
            "this worker would run it as root: start it as another user, or set C_FORCE_ROOT=1"
        )
