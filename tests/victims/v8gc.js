// Collects garbage all the time, and prints V8's own trace of it.
//
// usage: node --expose-gc v8gc.js [WORKERS | until-eof]   -> ready PID; then V8's --trace-gc lines
'use strict';

const { Worker, isMainThread, workerData } = require('worker_threads');
const share = isMainThread ? 1 : workerData;

// Objects come and go, and some survive: scavenges and mark-compacts, at a pace of its own in each isolate.
const kept = [];
function work() {
  for (let i = 0; i < 1500 * share; i++) kept.push({ i, name: `item ${i}`, pair: [i, share] });
  if (kept.length > 60000 * share) kept.length = 20000 * share;
}

function start() {
  setInterval(work, 10);
  setInterval(() => global.gc(), 700 + 300 * share);
}

if (isMainThread) {
  console.log('ready', process.pid);
  require('v8').setFlagsFromString('--trace-gc');
  if (process.argv[2] === 'until-eof') process.stdin.on('end', () => process.exit()).resume();
  for (let n = 0; n < (Number(process.argv[2]) || 0); n++) new Worker(__filename, { workerData: n + 2 });
}
start();
