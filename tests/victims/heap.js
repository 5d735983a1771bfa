// A leak of one kind, and heap snapshots at three points of time: node heap.js KIND PREFIX
//
// Writes PREFIX.1.heapsnapshot, PREFIX.2.heapsnapshot and PREFIX.3.heapsnapshot; between them the program does the same
// work again. Prints the names of the files, and ends.
'use strict';

const v8 = require('v8');
const { EventEmitter } = require('events');
const { Worker, isMainThread, workerData } = require('worker_threads');

const STEPS = 400;
const kinds = {};
let serial = 0;

// About 700 bytes that nothing else shares.
function payload() {
  serial += 1;
  return { serial, name: `payload ${serial}`, data: new Array(80).fill(serial) };
}

// Listeners that nobody removes.
const emitter = new EventEmitter();
emitter.setMaxListeners(0);
kinds.listener = () => {
  const request = payload();
  emitter.on('data', () => request.serial);
};

// The same on the web's kind of emitter.
const target = new EventTarget();
kinds.event_target = () => {
  const request = payload();
  target.addEventListener('abort', () => request.serial);
};

// Each function sees the variables of the one before: a chain of contexts.
let newest = null;
kinds.closure_chain = () => {
  const before = newest;
  const unused = () => before;
  newest = { request: payload(), method: () => unused };
};

// Functions that are kept, each with what it sees.
const callbacks = [];
kinds.closures = () => {
  const request = payload();
  callbacks.push(() => request.serial);
};

// A property of the global object.
kinds.global = () => {
  globalThis.leaked ??= [];
  globalThis.leaked.push(payload());
};

// A variable of the module.
const collected = [];
kinds.module_array = () => collected.push(payload());

// Numbers have no objects of their own.
const readings = [];
kinds.numbers = () => {
  for (let i = 0; i < 100; i += 1) readings.push(serial + i);
};

// Caches without a limit.
const cache = new Map();
kinds.map = () => {
  const value = payload();
  cache.set(value.name, value);
};
const seen = new Set();
kinds.set = () => seen.add(payload());
const table = {};
kinds.object = () => {
  const value = payload();
  table[value.name] = value;
};
class Store {
  #entries = new Map();
  put(value) {
    this.#entries.set(value.serial, value);
  }
}
kinds.private_map = (() => {
  const store = new Store();
  return () => store.put(payload());
})();

// A cache with a limit, full from the first snapshot on.
const lru = new Map();
kinds.lru = () => {
  const value = payload();
  lru.set(value.name, value);
  if (lru.size > STEPS) lru.delete(lru.keys().next().value);
};

// Timers that nobody clears.
kinds.interval = () => {
  const request = payload();
  setInterval(() => request.serial, 3_600_000);
};
kinds.timeout = () => {
  const request = payload();
  setTimeout(() => request.serial, 3_600_000 + serial);
};

// Memory outside of the JavaScript heap.
const chunks = [];
kinds.buffer = () => chunks.push(Buffer.alloc(16_384, serial));

// Objects that refer to one another, kept by an array.
const pairs = [];
kinds.circular = () => {
  const left = payload();
  left.right = { left, value: payload() };
  pairs.push(left);
};

// A list that is only appended to.
const list = { head: null, tail: null };
kinds.linked_list = () => {
  const link = { value: payload(), next: null };
  if (list.tail) list.tail.next = link;
  else list.head = link;
  list.tail = link;
};

// Work that leaves nothing behind.
let latest = null;
kinds.steady = () => {
  latest = payload();
};

function run(kind, prefix) {
  const step = kinds[kind];
  for (let snapshot = 1; snapshot <= 3; snapshot += 1) {
    for (let i = 0; i < STEPS; i += 1) step();
    console.log(v8.writeHeapSnapshot(`${prefix}.${snapshot}.heapsnapshot`));
  }
  return latest;
}

if (!isMainThread) {
  run(workerData.kind, workerData.prefix);
  process.exit();
}
const [, , kind, prefix] = process.argv;
if (kind === 'worker') {
  new Worker(__filename, { workerData: { kind: 'map', prefix }, stdout: false });
} else if (kinds[kind] && prefix) {
  run(kind, prefix);
  process.exit();
} else {
  console.error(`usage: node heap.js worker|${Object.keys(kinds).join('|')} PREFIX`);
  process.exit(2);
}
