"""Run one command and write what the system says of it: ``launch.py RESULT CORES COMMAND...``.

A process starts with the peak memory of the one that started it, so this one is kept small: it
imports nothing. RESULT is a JSON file, CORES ``all`` or numbers such as ``0,1``.
"""

import json
import os
import sys
import time


def main():
    result, cores, *command = sys.argv[1:]
    if cores != "all":
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    begin = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ | {"BENCH_STARTED": repr(begin)})
    _, status, used = os.wait4(child, 0)
    took = time.monotonic() - begin
    told = {
        "seconds": took,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "exit": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib is an import)
        json.dump(told, file)


if __name__ == "__main__":
    main()
