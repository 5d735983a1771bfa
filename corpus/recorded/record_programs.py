#!/usr/bin/env python3
"""Records memory series of real programs for the corpus: CSV with the header `t,bytes`.

usage: record_programs.py [--leaktrace PROGRAM] [--at-once N] DIRECTORY [NAME...]

Starts each program of the table below (or those that are named), puts a light load on it, and samples its resident set
from /proc/PID/statm, or its live bytes as leaktrace counts them (needs root). Several run at once: they mostly sleep.
Needs gcc, node, redis-server, nginx and postgres, as the end-to-end tests do.

What a series shows is written down in labels.toml by hand: this script only records.
"""

import argparse
import http.client
import json
import os
import pathlib
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

VICTIMS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "victims"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """A process to be watched, what puts load on it, and what has to be ended afterwards."""

    def __init__(self):
        self.pid = None
        self.processes = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="record-"))
        self.ended = threading.Event()

    def start(self, command, **options):
        process = subprocess.Popen([str(word) for word in command], **options)
        self.processes.append(process)
        return process

    def load(self, step, per_second):
        """Calls step(number, seconds) from a thread of its own, as often as is due."""

        def run():
            start, number = time.monotonic(), 0
            try:
                while not self.ended.is_set():
                    now = time.monotonic() - start
                    while number < now * per_second and not self.ended.is_set():
                        step(number, now)
                        number += 1
                    time.sleep(0.01)
            except (OSError, http.client.HTTPException) as error:
                if not self.ended.is_set():
                    print(f"the load on {self.pid} ended: {error}", file=sys.stderr)

        threading.Thread(target=run, daemon=True).start()

    def end(self):
        self.ended.set()
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), 1)
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


# Programs ------------------------------------------------------------------------------------------------------------


def says_ready(command, environment=None):
    """A program that prints `ready PID` first, and needs no load from outside."""
    program = Program()
    process = program.start(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    program.ready = process.stdout.readline().split()
    program.pid = int(program.ready[1])
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return program


def compiled(name):
    """A victim of the tests, compiled once."""
    source = VICTIMS / name
    target = pathlib.Path(tempfile.gettempdir()) / f"record-{source.stem}-{os.getpid()}"
    if not target.exists():
        compiler = ["g++", "-std=c++17"] if source.suffix == ".cpp" else ["gcc", "-std=gnu11", "-fno-builtin"]
        flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-pthread"]
        subprocess.run([*compiler, *flags, "-o", target, source], check=True)
    return target


def c_pattern(pattern, **options):
    """patterns.c; blocks of 200 KB are given back to the kernel at once, so the resident set shows their end too."""
    words = [f"{name}={value}" for name, value in options.items()]
    return lambda: says_ready([compiled("patterns.c"), pattern, *words], {"MALLOC_MMAP_THRESHOLD_": "150000"})


def cpp_leak(rate):
    return lambda: says_ready([compiled("leaking.cpp"), rate])


def rust_leak(rate):
    def start():
        target = pathlib.Path(tempfile.gettempdir()) / "record-rust"
        manifest = VICTIMS / "rust" / "Cargo.toml"
        build = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "rust_leak"]
        subprocess.run([*build, "--manifest-path", manifest, "--target-dir", target], check=True)
        return says_ready([target / "release" / "rust_leak", rate])

    return start


def python(pattern, **environment):
    return lambda: says_ready([sys.executable, VICTIMS / "patterns.py", pattern], environment)


def node(pattern):
    return lambda: says_ready(["node", VICTIMS / "patterns.js", pattern])


def redis(step, per_second, *options):
    """redis-server without persistence; `step` gets a function that sends commands."""

    def start():
        program, port = Program(), free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
        server = program.start([*command, "--dir", program.directory, *options], stdout=subprocess.DEVNULL)
        program.pid = server.pid
        connection = wait_for_port(port)
        answers = connection.makefile("rb")

        def send(*commands):
            request = b""
            for words in commands:
                request += b"*%d\r\n" % len(words)
                for word in words:
                    word = word if isinstance(word, bytes) else str(word).encode()
                    request += b"$%d\r\n%s\r\n" % (len(word), word)
            connection.sendall(request)
            for _ in commands:
                line = answers.readline()
                if line.startswith(b"$") and not line.startswith(b"$-1"):
                    answers.readline()

        program.load(lambda number, seconds: step(send, number, seconds), per_second)
        return program

    return start


def redis_fill(send, number, _seconds):
    send(*[("SET", f"session:{number}:{i}", b"s" * 200) for i in range(40)])


def redis_pipeline_queue(send, number, seconds):
    """A producer that is faster than its consumer."""
    send(*[("LPUSH", "queue", b"job %d" % number + b"j" * 150) for _ in range(30)])
    send(*[("RPOP", "queue") for _ in range(20)])


def redis_mixed(send, number, _seconds):
    """Reads and writes of a bounded set of keys; it is full after some seconds."""
    keys = [f"key:{random.randrange(20_000)}" for _ in range(60)]
    send(*[("SET", key, b"v" * random.randrange(50, 400)) if i % 3 == 0 else ("GET", key) for i, key in enumerate(keys)])


def redis_expiring(send, number, _seconds):
    send(*[("SET", f"visit:{number}:{i}", b"v" * 300, "EX", 20) for i in range(20)])


def redis_batches(send, number, seconds):
    """Each cycle of 24 s collects for 16 s, and deletes all of it but the report."""
    cycle, phase = divmod(number, 240)
    if phase < 160:
        send(*[("RPUSH", f"batch:{cycle}", b"r" * 2000) for _ in range(60)])
    elif phase == 160:
        send(("DEL", f"batch:{cycle}"))


def redis_draining(send, number, _seconds):
    """Filled at once; then keys are deleted, in the order in which they came."""
    if number == 0:
        for part in range(0, 30_000, 500):
            send(*[("SET", f"old:{part + i}", b"o" * 1500) for i in range(500)])
    send(*[("DEL", f"old:{number * 10 + i}") for i in range(10)])


def redis_nightly(send, number, seconds):
    """Every 20 s a job adds a report of 6 MB that nobody deletes."""
    if number % 200 == 150:
        for part in range(60):
            send(*[("RPUSH", f"report:{number}", b"r" * 1000) for _ in range(100)])
    else:
        send(("GET", "report:0"))


def postgres(per_second):
    """One backend, under pgbench at a limited rate."""

    def start():
        program = Program()
        programs = max(pathlib.Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"
        user = pwd.getpwnam("postgres")
        os.chown(program.directory, user.pw_uid, user.pw_gid)
        home = program.directory
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": home}
        quiet = {**options, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = home / "data"
        subprocess.run([programs / "initdb", "--no-sync", "--auth", "trust", "-D", data], check=True, **quiet)
        # What pgbench writes goes to 64 MB of shared buffers: a backend's resident set holds those that it has touched.
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=64MB"]
        server = program.start([programs / "postgres", "-D", data, "-k", home, *settings], **quiet)
        while subprocess.run([programs / "pg_isready", "-h", home], check=False, **quiet).returncode:
            time.sleep(0.1)
        bench = [programs / "pgbench", "-h", home]
        subprocess.run([*bench, "-i", "-q", "-s", "2", "postgres"], check=True, **quiet)
        load = ["-n", "-c", "1", "-T", "100000", "-R", str(per_second)]
        program.start([*bench, *load, "postgres"], **quiet)
        question = "select pid from pg_stat_activity where application_name = 'pgbench'"
        while program.pid is None:
            psql = [programs / "psql", "-h", home, "-XAtc", question, "postgres"]
            answer = subprocess.run(psql, capture_output=True, text=True, check=True, **options).stdout.split()
            program.pid = int(answer[0]) if answer else None
        server.terminate = lambda: server.send_signal(2)  # postgres's fast shutdown
        return program

    return start


def nginx(per_second):
    def start():
        program, port = Program(), free_port()
        home = program.directory
        (home / "index.html").write_text("hello\n" * 100)
        paths = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        (home / "nginx.conf").write_text(
            f"user root; daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
            f"events {{ worker_connections 64; }}\n"
            f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port}; root {home}; gzip on; }} }}\n"
        )
        command = ["nginx", "-p", home, "-c", home / "nginx.conf", "-e", home / "error.log"]
        master = program.start(command)
        wait_for_port(port).close()
        children = pathlib.Path(f"/proc/{master.pid}/task/{master.pid}/children")
        program.pid = int(children.read_text().split()[0])

        def ask(_number, _seconds):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/index.html", headers={"accept-encoding": "gzip"})
            connection.getresponse().read()
            connection.close()

        program.load(ask, per_second)
        return program

    return start


# What is sampled -----------------------------------------------------------------------------------------------------


def resident(program, seconds, interval):
    """(t, bytes) of the resident set."""
    start, rows = time.monotonic(), []
    while (t := time.monotonic() - start) <= seconds:
        with open(f"/proc/{program.pid}/statm") as statm:
            rows.append((t, int(statm.read().split()[1]) * PAGE))
        time.sleep(max(0, (len(rows) * interval) - (time.monotonic() - start)))
    return rows


def live(program, seconds, interval):
    """(t, bytes) of the live bytes that leaktrace counts."""
    command = [LEAKTRACE, "--pid", program.pid, "--format", "ndjson", "--interval", f"{int(interval * 1000)}ms"]
    command += ["--duration", f"{seconds}s"]
    output = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in output.splitlines()]
    return [(record["t"], record["live_bytes"]) for record in records if record["type"] == "tick"]


LEAKTRACE = "leaktrace"

# name: (program, what, seconds before the first sample, seconds, interval)
SERIES = {
    "c-linear-rss": (c_pattern("linear", rate=300_000), resident, 1, 120, 0.5),
    "c-linear-slow-live": (c_pattern("linear", rate=10_000, churn=2_000_000), live, 1, 150, 0.5),
    "c-accelerating-rss": (c_pattern("accelerating", rate=100_000, doubling=30), resident, 1, 120, 0.5),
    "c-staircase-rss": (c_pattern("staircase", step=3_000_000, every=17), resident, 1, 150, 0.5),
    "c-staircase-live": (c_pattern("staircase", step=400_000, every=9.5, churn=3_000_000), live, 1, 90, 0.5),
    "c-rising-rss": (c_pattern("rising", size=200_000, peak=20_000_000, kept=2_500_000, every=14), resident, 3, 150, 0.5),
    "c-rising-live": (c_pattern("rising", peak=3_000_000, kept=300_000, every=11, churn=2_000_000), live, 1, 120, 0.5),
    "c-flat-rss": (c_pattern("flat", size=200_000, peak=20_000_000, every=13), resident, 3, 150, 0.5),
    "c-flat-live": (c_pattern("flat", peak=2_000_000, every=8, churn=2_000_000), live, 1, 90, 0.5),
    "c-spike-rss": (c_pattern("spike", bytes=30_000_000, after=60), resident, 2, 120, 0.5),
    "c-spike-live": (c_pattern("spike", bytes=5_000_000, after=40, churn=2_000_000), live, 2, 90, 0.5),
    "c-warmup-rss": (c_pattern("warmup", rate=400_000, seconds=50), resident, 1, 150, 0.5),
    "c-warmup-live": (c_pattern("warmup", rate=50_000, seconds=30, churn=2_000_000), live, 1, 100, 0.5),
    "c-cache-live": (c_pattern("cache", bytes=4_000_000, rate=200_000), live, 25, 120, 0.5),
    "c-steady-rss": (c_pattern("steady", bytes=20_000_000, rate=1_000_000, size=3_000), resident, 60, 120, 0.5),
    "c-shrinking-rss": (c_pattern("shrinking", size=200_000, bytes=80_000_000, rate=500_000), resident, 2, 120, 0.5),
    "c-late-rss": (c_pattern("late", rate=1_000_000, seconds=25, leak=80_000), resident, 1, 180, 0.5),
    "cpp-leak-rss": (cpp_leak(150_000), resident, 1, 120, 0.5),
    "rust-leak-rss": (rust_leak(200_000), resident, 1, 120, 0.5),
    "rust-leak-live": (rust_leak(60_000), live, 1, 100, 0.5),
    "python-leak-rss": (python("leak"), resident, 2, 120, 0.5),
    "python-cache-rss": (python("cache"), resident, 1, 120, 0.5),
    "python-sqlite-rss": (python("sqlite"), resident, 2, 120, 0.5),
    # Its first batch comes from mappings, which go back to the kernel; glibc then takes later ones from its heap, where
    # what is kept of each batch holds the pages of the rest.
    "python-batches-rss": (python("batches"), resident, 30, 150, 0.5),
    "python-batches-mapped-rss": (
        python("batches", MALLOC_MMAP_THRESHOLD_="150000"), resident, 1, 150, 0.5,
    ),
    "python-load-rss": (python("load", MALLOC_MMAP_THRESHOLD_="50000"), resident, 3, 100, 0.5),
    "python-loop-rss": (python("loop"), resident, 20, 120, 0.5),
    "node-leak-rss": (node("leak"), resident, 5, 150, 0.5),
    "node-cache-rss": (node("cache"), resident, 1, 180, 0.5),
    "node-buffers-rss": (node("buffers"), resident, 5, 120, 0.5),
    "redis-fill-rss": (redis(redis_fill, 20), resident, 2, 150, 0.5),
    "redis-evicting-rss": (
        redis(redis_fill, 30, "--maxmemory", "24mb", "--maxmemory-policy", "allkeys-lru"), resident, 2, 150, 0.5,
    ),
    "redis-evicting-live": (
        redis(redis_fill, 20, "--maxmemory", "12mb", "--maxmemory-policy", "allkeys-lru"), live, 1, 120, 0.5,
    ),
    "redis-queue-rss": (redis(redis_pipeline_queue, 30), resident, 2, 150, 0.5),
    "redis-mixed-rss": (redis(redis_mixed, 40), resident, 60, 150, 0.5),
    "redis-draining-rss": (redis(redis_draining, 20), resident, 8, 120, 0.5),
    "redis-expiring-live": (redis(redis_expiring, 20), live, 1, 120, 0.5),
    "redis-batches-live": (redis(redis_batches, 10), live, 1, 180, 0.5),
    "redis-nightly-rss": (redis(redis_nightly, 10), resident, 1, 150, 0.5),
    "postgres-backend-rss": (postgres(60), resident, 0, 150, 0.5),
    "nginx-worker-rss": (nginx(40), resident, 10, 120, 0.5),
}


def record(name, directory):
    start, sample, before, seconds, interval = SERIES[name]
    program = start()
    try:
        time.sleep(before)
        rows = sample(program, seconds, interval)
    finally:
        program.end()
    lines = [f"{t:.2f},{size}" for t, size in rows]
    (directory / f"{name}.csv").write_text("\n".join(["t,bytes", *lines, ""]))
    print(f"{name}: {len(rows)} rows", flush=True)


def main():
    global LEAKTRACE
    parser = argparse.ArgumentParser(description="records memory series of real programs")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--leaktrace", default=LEAKTRACE)
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    LEAKTRACE = arguments.leaktrace
    for name in ["patterns.c", "leaking.cpp"]:
        compiled(name)
    names = arguments.names or list(SERIES)
    left = threading.Lock()

    def work():
        while True:
            with left:
                if not names:
                    return
                name = names.pop(0)
            try:
                record(name, arguments.directory)
            except Exception as error:  # one that cannot run here must not end the others
                print(f"{name}: {error!r}", file=sys.stderr, flush=True)

    workers = [threading.Thread(target=work) for _ in range(arguments.at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for name in ["patterns", "leaking"]:
        (pathlib.Path(tempfile.gettempdir()) / f"record-{name}-{os.getpid()}").unlink(missing_ok=True)


main()
