//! Texts of the help and the man page.

pub(super) const TARGET: &str = "Which process (one of)";
pub(super) const CAPTURE: &str = "Tracing";
pub(super) const VIEW: &str = "Output";
pub(super) const RECORDING: &str = "Recording";

pub(super) const USAGE: &str = "leaktrace [OPTIONS] --pid <PID>
       leaktrace [OPTIONS] --comm <NAME>
       leaktrace [OPTIONS] -- <COMMAND>...
       leaktrace doctor [--pid <PID>]
       leaktrace replay [OPTIONS] <FILE>
       leaktrace snapshot --pid <PID> [-o <FILE>]
       leaktrace classify [OPTIONS] [FILE]...
       leaktrace heap [OPTIONS] <FILE>...
       leaktrace heapwalk --pid <PID>";

pub(super) const ABOUT: &str = "Finds the memory leak in a process that is already running";

pub(super) const LONG_ABOUT: &str = "\
Finds the memory leak in a process that is already running, without restarting it and without code injected into it.

The allocation functions of the process (malloc, free, operator new, of glibc, musl, jemalloc, tcmalloc and mimalloc) \
get uprobes. leaktrace keeps what was allocated and not freed since it attached, by call site, and judges how it moves: \
a leak, a suspect, or bounded, in which pattern, how fast, and how sure that is. On a terminal it shows a live table; into a pipe it writes NDJSON.";

pub(super) const AFTER_HELP: &str = "\
Examples:
  sudo leaktrace --pid 1234
  sudo leaktrace --pid 1234 --duration 10s | jq -c '{type,t,live_bytes}'
  sudo leaktrace -- ./server --port 8080
  sudo leaktrace doctor --pid 1234

--help tells more, with exit codes.";

pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  Watch a running service:
      sudo leaktrace --pid 1234
  A service that works in child processes, for ten minutes:
      sudo leaktrace --pid $(pgrep -o postgres) --children --duration 10m
  Only what has lived for half a minute, fastest growth first:
      sudo leaktrace --pid 1234 --older-than 30s --sort growth
  The leaks with their line of code, as they become known:
      sudo leaktrace --pid 1234 | jq -c 'select(.type==\"verdict\" and .verdict==\"leak\") | {culprit,confidence}'
  Ten minutes in a test: fail where something leaks:
      sudo leaktrace --pid 1234 --duration 10m --fail-on-leak > trace.ndjson
  The live bytes of each second, for a program:
      sudo leaktrace --pid 1234 | jq -c 'select(.type==\"tick\") | {t,live_bytes}'
  Trace a command from its first allocation:
      sudo leaktrace -- ./server --port 8080
  Record now, look later, on another machine, without root:
      sudo leaktrace --pid 1234 --duration 1m --record trace.leaktrace
      leaktrace replay trace.leaktrace
  Which JavaScript function keeps memory in a Node (talks to the process, see --js-sites):
      sudo leaktrace --pid $(pgrep -o node) --js-sites
  Is this series of measurements a leak?
      leaktrace classify rss.csv
  What grew in a Node process between two heap snapshots, and who holds it?
      leaktrace heap before.heapsnapshot after.heapsnapshot

Keys of the live view:
  up, down select a call site; enter shows its full stack; s sorts by the next column; p pauses the picture, not the
  trace; ? explains the figures; q or Ctrl-C ends the trace with a summary.

Exit codes:
   0  traced, and ended as asked; a closed output pipe is no failure
   2  the command line, or a file given to classify or heap, cannot be used
   3  there is no such process
   4  a capability or permission is missing
   5  this kernel or this process is not supported
   6  refused, because attaching could hurt the process
   7  the output or a recording could not be written or read
  10  a leak was found at or above the confidence of --fail-on-leak, or growth with --fail-on-growth
  70  a bug in leaktrace

Environment:
  NO_COLOR  set and not empty: no colours";

pub(super) const DOCTOR: &str = "\
Checks what this machine and, with --pid, a process allow: kernel, capabilities, BTF, ring buffer, allocators, where \
each probe would go and what a hit would cost, frame pointers, hazards. Each thing missing comes with its remedy. \
Nothing is attached.";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  leaktrace doctor
  sudo leaktrace doctor --pid 1234
  sudo leaktrace doctor --pid 1234 --format ndjson | jq -r 'select(.status==\"failed\").remedy'";

pub(super) const REPLAY: &str = "\
Shows a recording as if it happened now: the same table, the same NDJSON as the run that wrote it, wall times aside. \
It needs no privileges and runs as fast as it can.";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  leaktrace replay trace.leaktrace
  leaktrace replay trace.leaktrace --format ndjson --older-than 30s | jq 'select(.type==\"summary\")'";

pub(super) const SNAPSHOT: &str = "\
Takes a heap snapshot of a running Node through its inspector, and writes it as it comes: for `leaktrace heap` or the \
memory panel of Chrome's developer tools.

The process stands still meanwhile, about a second for each 50 MB of its heap, and may need as much memory again as its \
heap takes. This is said first, memory is checked (what the machine has, and what the limits of the process leave), and \
it is refused with exit code 6 where that may not suffice, unless --force. On a terminal the question is asked whether \
to go on; elsewhere --yes is needed.

The inspector is used where it is open. Else it is opened by SIGUSR1, where that is known to do no harm, and closed \
afterwards. A snapshot holds the contents of the heap, secrets among them: the file is readable by its owner only. It \
is called FILE.partial until it is complete, and removed if it never is, for example because the process ended (exit \
code 3). Only the main thread's heap is in it, not those of worker threads.";

pub(super) const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  sudo leaktrace snapshot --pid 1234
  sudo leaktrace snapshot --pid 1234 -o before.heapsnapshot --yes";

pub(super) const CLASSIFY: &str = "\
Judges series of bytes over time that were measured anywhere: whether each is a leak, in which pattern it moves, how \
fast it grows, and how sure that is. It needs no privileges. On a terminal it prints a text with a plot, into a pipe one \
verdict record a line (NDJSON).

A series is CSV in UTF-8. Its first line names the columns; t (seconds) and bytes are needed, in any order, others are \
ignored. Times must ascend, at any distance; where a time is repeated the last value counts, and a warning says so. \
Empty lines are skipped. Anything else that is not a finite time and a number of bytes of 0 or more is an error with \
its line; the other files are still judged, and the exit code is 2. At most 10,000,000 rows.";

pub(super) const CLASSIFY_EXAMPLES: &str = "\
Examples:
  leaktrace classify rss.csv
  leaktrace classify --limit 2GiB rss.csv
  leaktrace classify --fail-on-leak=0.8 --format ndjson runs/*.csv |
      jq -r '[.file, .verdict, .pattern, .growth_bytes_per_s] | @tsv'
  (echo t,bytes; for i in $(seq 300); do
      echo $(date +%s),$(($(ps -o rss= 1234) * 1024)); sleep 1; done) | leaktrace classify";

pub(super) const HEAP: &str = "\
Reads V8's heap snapshots (.heapsnapshot: node's v8.writeHeapSnapshot() or --heapsnapshot-signal, Chrome's DevTools), \
without node and without privileges, in less memory than the size of the file.

Of one snapshot it tells count, shallow and retained size by constructor, as DevTools does. Of several, taken from one \
process over time and given oldest first, it also tells how these changed, which places hold more from each snapshot to \
the next, the shortest path that keeps the new objects alive, the likely cause, and what to do. Two snapshots cannot \
tell a leak from something that is still filling up; three or more, with the same work between them, can.";

pub(super) const HEAP_EXAMPLES: &str = "\
Examples:
  leaktrace heap app.heapsnapshot
  leaktrace heap 1.heapsnapshot 2.heapsnapshot 3.heapsnapshot
  leaktrace heap --retainers Session app.heapsnapshot
  leaktrace heap *.heapsnapshot.gz --format ndjson |
      jq -r 'select(.type==\"heap_growth\") | [.bytes, .cause, .holder] | @tsv'
  leaktrace heap --fail-on-growth before.heapsnapshot after.heapsnapshot";

pub(super) const HEAPWALK: &str = "\
Reads the heap of the C library (glibc) of a running process, once, from outside: arenas, chunks, fastbins, threads' caches \
and mapped blocks, also all that was allocated before anybody watched. It tells what is handed out and what is free, by \
size and by arena, how full the pages are, and what malloc_trim would give back: memory is high, but is it a leak, or \
fragmentation?

The process is not stopped, nothing is attached to it, and only pages that are in memory are read. What moves meanwhile is \
looked at again; `coverage` says which part of the heap was understood.";

pub(super) const HEAPWALK_EXAMPLES: &str = "\
Examples:
  sudo leaktrace heapwalk --pid 1234
  sudo leaktrace heapwalk --pid 1234 --format ndjson | jq '.heap | {live_bytes, free_bytes, fragmentation}'";
