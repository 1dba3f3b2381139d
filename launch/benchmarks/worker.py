"""The process of one contender: prepares it, then does one timed repetition whenever it is told to.

Speaks lines of JSON: reads {"make": "module:function", "arguments": {...}} once, then {"go": true} or, instead of both,
{"call": ..., "arguments": ...} for a function whose result is wanted as it is. What libraries print goes to stderr.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO


def find(name: str) -> Callable[..., Any]:
    """Returns the function called ``module:function``."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def serve(commands: TextIO, replies: TextIO) -> None:
    """Answers every command with one line, an error with its text, until there are no more."""
    repeat: Callable[[], Any] | None = None
    for line in commands:
        command = json.loads(line)
        reply: dict[str, Any]
        try:
            began, cpu_began = time.perf_counter(), time.process_time()
            if "call" in command:
                reply = {"result": find(command["call"])(**command["arguments"])}
            elif "make" in command:
                made = find(command["make"])(**command["arguments"])
                made()  # what is compiled or allocated at the first call is part of the preparation
                repeat = made
                reply = {"seconds": time.perf_counter() - began}
            elif repeat is not None:
                work, answer = repeat()
                reply = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}
                reply |= {"work": float(work), "answer": float(answer)}
            else:
                reply = {"error": "nothing was prepared"}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, own)
