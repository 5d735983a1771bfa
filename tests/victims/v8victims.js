// Keeps memory in one way each, as real services do by mistake.
//
// usage: node --expose-gc v8victims.js MODE [SCALE]   -> ready PID; runs until killed
//
// MODE: listener closure global map timer buffer worker fragment lru
'use strict';

const { EventEmitter } = require('events');
const { Worker, isMainThread, workerData } = require('worker_threads');

const mode = isMainThread ? process.argv[2] : workerData;
const payload = (i) => ({ id: i, text: `value ${i} `.repeat(8), list: [i, i + 1, i + 2, i + 3] });

const emitter = new EventEmitter();
emitter.setMaxListeners(0);
const handlers = [];
const cache = new Map();
const lru = new Map();
const buffers = [];
globalThis.history = [];
let count = 0;
let round = 0;

const modes = {
  listener() {
    const data = payload(count++);
    emitter.on('update', () => data.id);
  },
  closure() {
    const data = payload(count++);
    handlers.push(() => data);
  },
  global() {
    globalThis.history.push(payload(count++));
  },
  map() {
    cache.set(`key ${count}`, payload(count++));
  },
  timer() {
    const data = payload(count++);
    setInterval(() => data.id, 1e8);
  },
  worker() {
    globalThis.history.push(payload(count++));
  },
  lru() {
    lru.set(`key ${count}`, payload(count++));
    if (lru.size > 4000) lru.delete(lru.keys().next().value);
  },
};

// Contents live outside of the JavaScript heap.
function buffer() {
  for (let i = 0; i < 4; i++) buffers.push(Buffer.alloc(64 << 10, 1));
}

// Each round has a higher peak than the one before, and then frees all but its last block, which lies at the top of the
// allocator's memory: it cannot give back what is below.
function fragment() {
  round++;
  let peak = [];
  for (let i = 0; i < round * 500; i++) peak.push(new ArrayBuffer(8 << 10));
  buffers.push(peak[peak.length - 1]);
  for (const one of peak) new Uint8Array(one).fill(1);
  peak = null;
  // The second one waits for the thread that frees what the first one found.
  global.gc();
  global.gc();
}

function run() {
  const perTick = Number(process.argv[3] || 30);
  if (mode === 'buffer') setInterval(buffer, 60);
  else if (mode === 'fragment') setInterval(fragment, 3000);
  else setInterval(() => { for (let i = 0; i < perTick; i++) modes[mode](); }, 20);
  // As a memory reducer or the load of a service would: so that a baseline is seen soon.
  setInterval(() => global.gc(), 1000);
}

if (isMainThread) console.log('ready', process.pid);
if (isMainThread && mode === 'worker') new Worker(__filename, { workerData: mode });
else run();
