// A Node program that grows, or does not, in one of several ways.
//
// usage: node patterns.js leak|cache|steady|buffers [SECONDS]   -> ready PID
//
//   leak     a global array that remembers each request: V8's heap
//   cache    a Map that remembers up to 60,000 answers to random questions: it saturates
//   steady   parses and formats JSON, and remembers nothing
//   buffers  remembers buffers, whose bytes come from malloc
'use strict';

const remembered = [];
const cache = new Map();
let state = 42;

function random(limit) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 4) % limit;
}

function garbage(number) {
  const items = Array.from({ length: 300 }, (_, i) => ({ i, name: `item ${i} of ${number}`, tags: ['a', 'b', String(i)] }));
  return JSON.parse(JSON.stringify(items)).length;
}

const steps = {
  leak(number) {
    garbage(number);
    for (let i = 0; i < 100; i++) remembered.push({ number, i, path: `/items/${number}/${i}`, headers: { host: 'localhost', id: String(i) } });
  },
  cache(number) {
    garbage(number);
    for (let i = 0; i < 150; i++) {
      const key = random(60000);
      if (!cache.has(key)) cache.set(key, { key, body: `the answer to ${key} `.repeat(10).split(' ') });
    }
  },
  steady(number) {
    for (let i = 0; i < 4; i++) garbage(number);
  },
  buffers(number) {
    garbage(number);
    remembered.push(Buffer.alloc(16 * 1024, number % 256));
  },
};

const step = steps[process.argv[2]];
const seconds = Number(process.argv[3] || 600);
if (!step) {
  console.error('usage: patterns.js leak|cache|steady|buffers [SECONDS]');
  process.exit(2);
}
console.log('ready', process.pid);
const start = process.hrtime.bigint();
let number = 0;
const timer = setInterval(() => {
  const now = Number(process.hrtime.bigint() - start) / 1e9;
  if (now >= seconds) return clearInterval(timer);
  // Forty steps a second, as many as are due.
  for (; number < now * 40; number++) step(number);
}, 20);
