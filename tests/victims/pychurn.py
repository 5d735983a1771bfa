"""A Python program: small objects live in pymalloc's arenas, which malloc probes do not see block by block.

usage: pychurn.py [SECONDS]   -> ready PID, then grows by about 10 MB/s up to 300 MB, with some blocks from malloc.
"""

import os
import sys
import time

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
print("ready", os.getpid(), flush=True)
kept = []
large = []
end = time.monotonic() + seconds
while time.monotonic() < end:
    if len(kept) < 3000:
        kept.append([float(i) for i in range(3000)])  # 3000 objects of 24 bytes each: pymalloc
    for size in range(600, 4600, 20):  # above pymalloc's limit: malloc
        large.append(bytearray(size))
    if len(large) > 2000:
        large.clear()
    time.sleep(0.01)
