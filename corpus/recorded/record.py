#!/usr/bin/env python3
"""Records the resident set of two small Python programs: usage record.py [SECONDS]

One keeps everything, the other is a cache that fills. Writes python-list.csv and python-lru.csv beside this file, with
the resident set from /proc/PID/smaps_rollup (exact, unlike statm) every quarter of a second. Labels are in labels.toml.
"""

import pathlib
import subprocess
import sys
import time

INTERVAL = 0.25

# 100 objects a second: bytes(2000) is a chunk of 2,048 bytes, and 8 for the list.
LEAK = """
import time
kept, start = [], time.monotonic()
while True:
    while len(kept) < (time.monotonic() - start) * 100:
        kept.append(bytes(2000))
    time.sleep(0.02)
"""

# 400 requests a second for 3,000 keys, those asked for often first: hits become more, and so it fills ever slower.
CACHE = """
import functools, random, time
@functools.lru_cache(maxsize=4000)
def page(key):
    return bytes(6000)
random.seed(3)
asked, start = 0, time.monotonic()
while True:
    while asked < (time.monotonic() - start) * 400:
        page(random.randrange(3000))
        asked += 1
    time.sleep(0.02)
"""


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no resident set of {pid}")


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 75.0
    here = pathlib.Path(__file__).resolve().parent
    programs = {"python-list": LEAK, "python-lru": CACHE}
    running = {name: subprocess.Popen([sys.executable, "-c", text]) for name, text in programs.items()}
    rows = {name: ["t,bytes"] for name in programs}
    try:
        time.sleep(1)  # what the interpreter itself loads is not the point
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            for name, process in running.items():
                rows[name].append(f"{time.monotonic() - start:.3f},{resident_bytes(process.pid)}")
            time.sleep(max(0.0, INTERVAL - (time.monotonic() - start - now)))
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    for name, lines in rows.items():
        (here / f"{name}.csv").write_text("\n".join(lines) + "\n")


main()
