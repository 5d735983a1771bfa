// A Node program with a native leak and a JavaScript one.
//
// usage: node nodeleak.js [SECONDS]   -> ready PID, then grows until killed or the time is over.
'use strict';

const seconds = Number(process.argv[2] || 600);
const buffers = []; // native: a Buffer this large has its bytes from malloc (calloc)
const sessions = new Map(); // JavaScript: V8's heap, which malloc does not see

function rememberUpload() {
  buffers.push(Buffer.alloc(16 * 1024, 1));
}

function rememberSession(id) {
  sessions.set(id, { id, name: `session ${id}`, seen: [id, id + 1, id + 2] });
}

let id = 0;
console.log('ready', process.pid);
const timer = setInterval(() => {
  rememberUpload();
  for (let i = 0; i < 50; i++) rememberSession(id++);
}, 10);
setTimeout(() => clearInterval(timer), seconds * 1000);
