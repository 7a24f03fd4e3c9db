// Node's HTTP parser as a witness: says for each connection which requests it read before it closed or refused.
//
//     node node_reader.js
//
// Prints its port, then one line of JSON for each connection that has ended; ends with its standard input.
'use strict';
const http = require('http');

const seenBySocket = new Map();

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    seenBySocket.get(request.socket).push({ method: request.method, body: Buffer.concat(pieces).toString('latin1') });
    response.end();
  });
});
// What a server would treat apart, a witness reads like any other request.
server.on('checkContinue', (request, response) => server.emit('request', request, response));
server.on('checkExpectation', (request, response) => server.emit('request', request, response));
server.on('connect', (request, socket) => socket.destroy());
// A refusal may come while earlier requests are still being told: they count.
server.on('clientError', (error, socket) => setImmediate(() => socket.destroy()));
server.on('connection', (socket) => {
  seenBySocket.set(socket, []);
  socket.on('close', () => {
    console.log(JSON.stringify(seenBySocket.get(socket)));
    seenBySocket.delete(socket);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
