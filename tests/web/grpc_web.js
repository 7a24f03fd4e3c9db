// Calls by the grpc-web package, for a test that drives this page: each returns, as plain data, what the package told.
import { GrpcWebClientBase, MethodDescriptor, MethodType } from './node_modules/grpc-web/index.esm.js';

// message Word { string text = 1; uint32 number = 2; }
function varint(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  bytes.push(value);
  return bytes;
}

function encode({ text = '', number = 0 }) {
  const content = new TextEncoder().encode(text);
  const head = text ? [0x0a, ...varint(content.length)] : [];
  const tail = number ? [0x10, ...varint(number)] : [];
  const bytes = new Uint8Array(head.length + content.length + tail.length);
  bytes.set(head);
  bytes.set(content, head.length);
  bytes.set(tail, head.length + content.length);
  return bytes;
}

function decode(bytes) {
  const word = { text: '', number: 0 };
  let at = 0;
  const readVarint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = bytes[at++];
    if (tag === 0x0a) {
      const length = readVarint();
      word.text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.slice(at, at + length));
      at += length;
    } else if (tag === 0x10) {
      word.number = readVarint();
    } else {
      throw new Error(`unknown tag ${tag}`);
    }
  }
  return word;
}

const plain = (error) => ({ code: error.code, message: error.message, metadata: error.metadata || {} });

window.unary = ({ url, method, format, word, metadata = {} }) => new Promise((resolve) => {
  const told = { word: null, error: null, status: null, metadata: null };
  const descriptor = new MethodDescriptor(method, MethodType.UNARY, Object, Object, encode, decode);
  const call = new GrpcWebClientBase({ format }).rpcCall(url + method, word, metadata, descriptor, (error, answer) => {
    if (error) told.error = plain(error);
    else told.word = answer;
    setTimeout(() => resolve(told)); // the other events come in the same turn
  });
  call.on('status', (status) => { told.status = plain({ ...status, message: status.details }); });
  call.on('metadata', (found) => { told.metadata = found; });
});

// The test looks at `told` while the stream goes on.
window.streams = {};
window.openStream = ({ name, url, method, format, word, metadata = {} }) => {
  const told = { words: [], errors: [], status: null, ended: false };
  const descriptor = new MethodDescriptor(method, MethodType.SERVER_STREAMING, Object, Object, encode, decode);
  const call = new GrpcWebClientBase({ format }).serverStreaming(url + method, word, metadata, descriptor);
  call.on('data', (answer) => told.words.push(answer));
  call.on('error', (error) => told.errors.push(plain(error)));
  call.on('status', (status) => { told.status = plain({ ...status, message: status.details }); });
  call.on('end', () => { told.ended = true; });
  window.streams[name] = { told, cancel: () => call.cancel() };
};
window.cancelStream = (name) => window.streams[name].cancel();
