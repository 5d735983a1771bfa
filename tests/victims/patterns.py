"""A Python program that grows, or does not, in one of several ways.

usage: patterns.py leak|cache|sqlite|batches|load|loop [SECONDS]   -> ready PID

  leak     remembers about 0.5 MB a second of small objects for ever
  cache    looks random keys up in a cache that can hold 200,000, and remembers what it had to make: it saturates
  sqlite   inserts rows into a table in memory
  batches  works on 40 MB for a while, gives it back, and keeps a little of each batch
  load     works like `loop`, and after 40 s loads a table of 50 MB that it keeps
  loop     parses, sorts, counts and formats text; remembers nothing
"""

import json
import os
import random
import sqlite3
import sys
import time
import zlib

remembered = []


def leak(number):
    for i in range(40):
        remembered.append({"id": number * 40 + i, "name": f"session {number} {i}", "seen": [number, i, float(i)]})


cache = {}


def cached(number):
    generator = random.Random(number)
    for _ in range(600):
        key = generator.randrange(200_000)
        if key not in cache:
            cache[key] = f"the answer to {key}: {key * key}".encode() * 3


database = sqlite3.connect(":memory:")
database.execute("create table visits (id integer primary key, path text, agent text)")


def sqlite(number):
    rows = [(f"/page/{number}/{i}", "a browser of some kind") for i in range(150)]
    database.executemany("insert into visits (path, agent) values (?, ?)", rows)


batch = []


def batches(number):
    """A batch lasts 12 s: 8 s of collecting, then 4 s with nothing."""
    phase = number % 240
    if phase < 160:
        batch.append(bytearray(250_000))
    elif phase == 160:
        remembered.append([bytearray(part[:20_000]) for part in batch])
        batch.clear()


def load(number):
    if number == 800:
        remembered.append([bytearray(100_000) for _ in range(500)])
    loop(number)


def loop(number):
    records = [{"user": i * number % 997, "text": f"line {i} of {number}"} for i in range(400)]
    text = json.dumps(records)
    counts = {}
    for record in json.loads(text):
        counts[record["user"]] = counts.get(record["user"], 0) + 1
    zlib.compress(text.encode())
    return sorted(counts.items(), key=lambda pair: -pair[1])[:10]


def main():
    step = {"leak": leak, "cache": cached, "sqlite": sqlite, "batches": batches, "load": load, "loop": loop}[sys.argv[1]]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 600.0
    print("ready", os.getpid(), flush=True)
    start = time.monotonic()
    number = 0
    while (now := time.monotonic() - start) < seconds:
        # Twenty steps a second, as many as are due: a slow machine does the same, later.
        while number < now * 20:
            step(number)
            number += 1
        time.sleep(0.02)


main()
