// Node's HTTP parser as a witness: answers each request with what it read, and what it refuses with 400.
//
//     node node_reader.js          prints its port, ends with its standard input
'use strict';
const http = require('http');

const server = http.createServer({ keepAliveTimeout: 2000 }, (request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    const seen = { method: request.method, target: request.url, body: Buffer.concat(pieces).toString('latin1') };
    response.end(JSON.stringify(seen));
  });
  request.on('error', () => response.destroy());
});
// What the server would treat apart, a witness reads like any other request.
server.on('checkContinue', (request, response) => server.emit('request', request, response));
server.on('checkExpectation', (request, response) => server.emit('request', request, response));
server.on('clientError', (error, socket) => {
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
});
server.on('connect', (request, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
