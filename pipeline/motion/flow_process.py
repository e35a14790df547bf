"""The child process that estimates flow: it answers one pair of frames after the other until its parent ends.

A request is a name of `dis.estimators` with the arguments of that function, and its answer what the function returns,
or the exception that it raises.
"""

import os
import queue
from typing import Any

from ..child_processes import Parent


def serve(descriptor: int) -> None:
    """Estimates flow until the parent ends."""
    parent = Parent(descriptor)
    # As many of these processes work as there are cores for them; NumPy reads this when it is imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from .dis import estimators

    functions = estimators()
    requests: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    parent.listen(requests.put)
    while True:
        answer: Any
        try:
            name, *arguments = requests.get()
            answer = functions[name](*arguments)
        except Exception as error:  # It is raised where the flow was asked for.
            answer = error
        parent.send(answer)
