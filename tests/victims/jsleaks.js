// Node programs that keep memory in one known way each, and two that keep none. What allocates has the name `leak_KIND`
// and is called by the timer itself: V8 inlines what is called in a loop, and tells the caller then.
// Usage: node jsleaks.js KIND [calls a second]; says `ready PID`; on `quit` it says `bye` and exits with 5.
'use strict';
const { EventEmitter } = require('events');
const { Worker, isMainThread, workerData } = require('worker_threads');

const bus = new EventEmitter();
bus.setMaxListeners(0);
const closures = [];
const cache = new Map();
const buffers = [];
const lru = new Map();
let pieces = [];

const kinds = {
  listener: function leak_listener(n) {
    for (let i = 0; i < n; i++) {
      const payload = new Array(100).fill(0);
      bus.on('message', () => payload.length);
    }
  },
  closure: function leak_closure(n) {
    for (let i = 0; i < n; i++) {
      const payload = new Array(200).fill(0);
      closures.push(() => payload.length);
    }
  },
  global: function leak_global(n) {
    globalThis.everything = globalThis.everything || [];
    for (let i = 0; i < n; i++) globalThis.everything.push({ at: Date.now(), rows: new Array(200).fill(1) });
  },
  cache: function leak_cache(n) {
    for (let i = 0; i < n; i++) cache.set(`key-${cache.size}`, { value: new Array(200).fill(2) });
  },
  timer: function leak_timer(n) {
    for (let i = 0; i < n; i++) {
      const kept = new Array(200).fill(3);
      setTimeout(() => kept.length, 2 ** 30).unref();
    }
  },
  buffer: function leak_buffer(n) {
    for (let i = 0; i < n; i++) buffers.push(Buffer.allocUnsafeSlow(4096));
  },
  worker: function leak_worker(n) {
    globalThis.everything = globalThis.everything || [];
    for (let i = 0; i < n; i++) globalThis.everything.push(new Array(200).fill(4));
  },
  // Bounded: the oldest entry goes for each that comes.
  lru: function bounded_lru(n) {
    for (let i = 0; i < n; i++) {
      lru.set(Math.random(), new Array(200).fill(5));
      if (lru.size > 2000) lru.delete(lru.keys().next().value);
    }
  },
  // Native blocks of many sizes, of which every second is given back: the JavaScript heap stays nearly flat.
  fragmentation: function fragment(n) {
    for (let i = 0; i < n; i++) pieces.push(Buffer.allocUnsafeSlow(512 + (pieces.length % 64) * 64));
    if (pieces.length > 4000) pieces = pieces.filter((_, index) => index % 2 === 0);
  },
};

const kind = isMainThread ? process.argv[2] : workerData.kind;
const perSecond = Number((isMainThread ? process.argv[3] : workerData.perSecond) || 1000);
let busy;

if (isMainThread && kind === 'worker') {
  new Worker(__filename, { workerData: { kind, perSecond }, name: 'leaker' });
} else if (kinds[kind]) {
  busy = setInterval(kinds[kind], 20, perSecond / 50);
}

if (isMainThread) {
  if (kind === 'user-handler') process.on('SIGUSR1', () => console.log('handler'));
  if (kind === 'large') globalThis.large = Array.from({ length: 4e5 }, (_, i) => ({ i, name: `row ${i}` }));
  console.log(`ready ${process.pid}`);
  process.stdin.on('data', (data) => {
    if (!String(data).startsWith('quit')) return;
    console.log('bye');
    clearInterval(busy);
    process.exit(5);
  });
}
