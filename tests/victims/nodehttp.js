// A JSON-over-HTTP server, and its load generator.
//
// usage: node nodehttp.js serve [BYTES_PER_S]      -> ready PID PORT; serves until killed, and keeps so much more each second,
//                                                     which GET /kept tells
//        node nodehttp.js load PORT SECONDS [CONNECTIONS]   -> requests N seconds S req_per_s R
//        node nodehttp.js both SECONDS [CONNECTIONS]        server and load in two processes; prints the load's line
'use strict';

const http = require('http');

const KEPT_AT_ONCE = 10000;

function serve(bytesPerSecond) {
  const kept = [];
  if (bytesPerSecond > 0) setInterval(() => kept.push(Buffer.alloc(KEPT_AT_ONCE, 1)), (1000 * KEPT_AT_ONCE) / bytesPerSecond);
  const server = http.createServer((request, response) => {
    if (request.url === '/kept') return response.end(String(kept.length * KEPT_AT_ONCE));
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const asked = parts.length ? JSON.parse(Buffer.concat(parts)) : {};
      const body = JSON.stringify({ path: request.url, asked, items: Array.from({ length: 20 }, (_, i) => ({ i, name: `item ${i}` })) });
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    });
  });
  server.listen(0, '127.0.0.1', () => console.log('ready', process.pid, server.address().port));
}

function load(port, seconds, connections) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const question = JSON.stringify({ user: 7, want: ['a', 'b', 'c'] });
  const headers = { 'content-type': 'application/json', 'content-length': question.length };
  const start = process.hrtime.bigint();
  const elapsed = () => Number(process.hrtime.bigint() - start) / 1e9;
  let requests = 0;
  let open = 0;
  const finish = () => {
    const s = elapsed();
    console.log(`requests ${requests} seconds ${s.toFixed(2)} req_per_s ${(requests / s).toFixed(0)}`);
    agent.destroy();
  };
  const ask = () => {
    const request = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/items', agent, headers }, (response) => {
      response.resume();
      response.on('end', () => {
        requests++;
        if (elapsed() < seconds) ask();
        else if (--open === 0) finish();
      });
    });
    request.on('error', (error) => {
      console.error(`nodehttp: ${error.message}`);
      process.exit(1);
    });
    request.end(question);
  };
  for (; open < connections; open++) ask();
}

function both(seconds, connections) {
  const { spawn } = require('child_process');
  const server = spawn(process.execPath, [__filename, 'serve'], { stdio: ['ignore', 'pipe', 'inherit'] });
  server.stdout.once('data', (data) => {
    const port = String(data).trim().split(' ')[2];
    const client = spawn(process.execPath, [__filename, 'load', port, String(seconds), String(connections)], { stdio: 'inherit' });
    client.on('exit', (code) => {
      server.kill();
      process.exitCode = code;
    });
  });
}

const [, , mode, ...rest] = process.argv;
if (mode === 'serve') serve(Number(rest[0] || 0));
else if (mode === 'load') load(Number(rest[0]), Number(rest[1]), Number(rest[2] || 32));
else if (mode === 'both') both(Number(rest[0] || 3), Number(rest[1] || 32));
else {
  console.error('usage: nodehttp.js serve [BYTES_PER_S] | load PORT SECONDS [CONNECTIONS] | both SECONDS [CONNECTIONS]');
  process.exitCode = 2;
}
