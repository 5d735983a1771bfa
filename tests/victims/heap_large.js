// Two large heap snapshots of a growing heap: node heap_large.js MEGABYTES PREFIX
//
// Writes PREFIX.1.heapsnapshot of about so many MB and PREFIX.2.heapsnapshot, an eighth larger. The heap is of mixed
// shape: objects, arrays, sets, closures, dates, numbers, strings, and a list through all of it.
'use strict';

const v8 = require('v8');

const SESSIONS_PER_MB = 970;
const [, , megabytes, prefix] = process.argv;
const store = new Map();
let newest = null;

class Session {
  constructor(serial) {
    this.id = `session-${serial}`;
    this.user = { name: `user ${serial % 1000}`, roles: ['reader', 'writer', serial] };
    this.created = new Date(serial);
    this.tags = new Set([serial, serial + 1]);
    this.score = serial * 1.5;
    this.previous = newest;
    this.onClose = () => this.user;
    newest = this;
  }
}

function grow(count) {
  for (let i = 0; i < count; i += 1) {
    const session = new Session(store.size);
    store.set(session.id, session);
  }
}

const count = Math.round(Number(megabytes) * SESSIONS_PER_MB);
grow(count);
console.log(v8.writeHeapSnapshot(`${prefix}.1.heapsnapshot`));
grow(Math.round(count / 8));
console.log(v8.writeHeapSnapshot(`${prefix}.2.heapsnapshot`));
