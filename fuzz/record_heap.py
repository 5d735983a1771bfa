#!/usr/bin/env python3
"""Records the heap of a small process for the fuzz target heap_walk: record_heap.py PID > seeds/heap_walk/NAME

A number of pieces, the end of the main heap, then each piece: address, length, bytes up to the last that is not 0. The
first piece holds the C library's variables, the second the main heap, the others heaps of threads.
"""
import struct
import sys

pid = int(sys.argv[1])
maps = [line.split() for line in open(f"/proc/{pid}/maps")]
memory = open(f"/proc/{pid}/mem", "rb")


def span(entry):
    start, end = (int(part, 16) for part in entry[0].split("-"))
    return start, end


def piece(entry):
    start, end = span(entry)
    memory.seek(start)
    held = memory.read(end - start).rstrip(b"\0")
    # The word that the last byte belongs to, and the size of a chunk behind it.
    held += b"\0" * (-len(held) % 16)
    return struct.pack("<QI", start, len(held)) + held


library = [entry for entry in maps if entry[1].startswith("rw") and entry[-1].endswith("/libc.so.6")]
heap = [entry for entry in maps if entry[-1] == "[heap]"]
threads = [
    entry for entry in maps if len(entry) == 5 and entry[1].startswith("rw") and span(entry)[0] % (64 << 20) == 0
]
pieces = [piece(entry) for entry in library[:1] + heap + threads[:6]]
sys.stdout.buffer.write(struct.pack("<BQ", len(pieces), span(heap[0])[1]) + b"".join(pieces))
