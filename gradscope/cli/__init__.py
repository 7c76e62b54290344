"""The command line: options in, exit codes out. No linear algebra lives here.

0 fine · 1 a gate tripped · 2 usage · 3 the input cannot be read or the numbers cannot be trusted ·
129 hung up · 130 interrupted · 143 terminated · 141 closed pipe.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from gradscope.cli.interrupts import ended_by, lasting_interrupts

EXIT_PIPE = 141
ENDED = (129, 130, 143, EXIT_PIPE)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        with lasting_interrupts():
            # Imported here, so that Ctrl-C while click loads is answered like any other.
            from gradscope.cli.invoke import invoke

            return invoke(arguments)
    except KeyboardInterrupt:
        code, word = ended_by()
        print(f"gradscope: {word}", file=sys.stderr)
        return code


def _release_semaphores() -> None:
    """Give back what a pool of processes holds in the system; ``os._exit`` leaves that to nobody."""
    pools = sys.modules.get("multiprocessing.util")
    if pools is None:
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(Exception):
        pools._run_finalizers(0)  # 0: what has to be undone, not what waits for a worker


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``gradscope`` and ``python -m gradscope``."""
    # Modules being loaded leave nothing to collect, and looking for it all the while is a twentieth of the start.
    gc.set_threshold(50_000)
    # An overflow becomes a status in the rows; numpy's own words about it would be neither result nor error.
    warnings.simplefilter("ignore", RuntimeWarning)
    code = run(sys.argv[1:] if arguments is None else arguments)
    if code in ENDED:
        # Everything is closed by now; a second Ctrl-C during the interpreter's farewell must not change the code.
        sys.stderr.flush()
        _release_semaphores()
        os._exit(code)
    sys.exit(code)
