"""Run a command and write its time and peak memory: ``launch.py RESULT CORES COMMAND...``.

A process inherits the peak memory of the process that starts it. This one stays small: it imports
nothing large. RESULT is a JSON file; CORES is ``all`` or numbers such as ``0,1``.
"""

import json
import os
import sys
import time


def main():
    result, cores, *command = sys.argv[1:]
    if cores != "all":
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    start = time.monotonic()
    settings = {"BENCH_STARTED": repr(start), "ORT_DISABLE_TELEMETRY": "1"}
    child = os.posix_spawn(command[0], command, os.environ | settings)
    _, status, usage = os.wait4(child, 0)
    measured = {
        "seconds": time.monotonic() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "exit": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 (importing pathlib takes memory)
        json.dump(measured, file)


if __name__ == "__main__":
    main()
