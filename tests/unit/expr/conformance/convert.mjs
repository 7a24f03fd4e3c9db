/* Writes the published conformance cases of CEL over into the form that test_conformance.c reads: a line of JSON a case.
 *
 *   npm pack @bufbuild/cel-spec && tar xzf bufbuild-cel-spec-*.tgz
 *   node convert.mjs package tests/unit/expr/conformance
 *
 * The package carries the cases of google/cel-spec, tests/simple/testdata/*.textproto (Apache-2.0). What needs protobuf messages, enums
 * or macros that the language does not have is left out and counted; README.md says how many of each. */
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [source, into] = process.argv.slice(2);
const { tests } = await import(pathToFileURL(path.resolve(source, 'dist/esm/testdata/conformance.js')));

class Excluded extends Error {}
const exclude = (reason) => { throw new Excluded(reason); };

/* --- values: ["int", "5"], ["list", [...]], ["map", [[key, value], ...]] --- */

function nanoseconds(fraction) { return Number((fraction ?? '').padEnd(9, '0').slice(0, 9)); }

function objectValue(object) {
  const type = object['@type'].split('/')[1];
  if (type === 'google.protobuf.Duration') {
    const [, sign, seconds, fraction] = /^(-?)(\d+)(?:\.(\d+))?s$/.exec(object.value);
    const total = BigInt(seconds) * 1000000000n + BigInt(nanoseconds(fraction));
    return ['duration', String(sign ? -total : total)];
  }
  if (type === 'google.protobuf.Timestamp') {
    const fraction = /\.(\d+)Z$/.exec(object.value)?.[1];
    return ['timestamp', String(Math.floor(Date.parse(object.value) / 1000)), nanoseconds(fraction)];
  }
  return exclude('messages');
}

function value(of) {
  const [kind] = Object.keys(of);
  const held = of[kind];
  switch (kind) {
    case 'nullValue': return ['null'];
    case 'boolValue': return ['bool', held];
    case 'int64Value': return ['int', held];
    case 'uint64Value': return ['uint', held];
    case 'doubleValue': return ['double', String(held)];
    case 'stringValue': return ['string', held];
    case 'bytesValue': return ['bytes', Buffer.from(held, 'base64').toString('hex')];
    case 'typeValue': return ['type', held];
    case 'listValue': return ['list', (held.values ?? []).map(value)];
    case 'mapValue': return ['map', (held.entries ?? []).map((entry) => [value(entry.key), value(entry.value)])];
    case 'objectValue': return objectValue(held);
    case 'enumValue': return exclude('enums');
    default: throw new Error(`a value of kind ${kind}`);
  }
}

/* --- types: "map(string, int)" --- */

const PRIMITIVES = { BOOL: 'bool', INT64: 'int', UINT64: 'uint', DOUBLE: 'double', STRING: 'string', BYTES: 'bytes' };

function type(of) {
  const [kind] = Object.keys(of);
  const held = of[kind];
  switch (kind) {
    case 'primitive': return PRIMITIVES[held];
    case 'null': return 'null';
    case 'dyn': return 'dyn';
    case 'wellKnown': return held === 'TIMESTAMP' ? 'timestamp' : held === 'DURATION' ? 'duration' : exclude('messages');
    case 'listType': return `list(${type(held.elemType)})`;
    case 'mapType': return `map(${type(held.keyType)}, ${type(held.valueType)})`;
    case 'type': return 'type';
    case 'typeParam': return held;
    case 'abstractType': return `${held.name}(${held.parameterTypes.map(type).join(', ')})`;
    case 'messageType':
      if (held === 'google.protobuf.Timestamp') return 'timestamp';
      return held === 'google.protobuf.Duration' ? 'duration' : exclude('messages');
    case 'wrapper': return exclude('messages');
    default: throw new Error(`a type of kind ${kind}`);
  }
}

/* --- what is left out --- */

const MESSAGES = /\b\w*Value\s*\{|TestAllTypes|google\.protobuf\.(?!Timestamp\b|Duration\b)[A-Z]\w*|protobuf\.\w+\s*\{|TestRequired|proto\.(has|get)Ext/;
const MACROS = [
  ['bindings_ext', /cel\.bind\(/],
  ['block_ext', /cel\.(block|index|iterVar|accuVar)\(/],
  ['macros2', /\.transform(List|Map|MapEntry)\(/],
  ['optionals', /\.opt(Map|FlatMap)\(/],
];

function refuse(file, test) {
  if (file === 'enums') exclude('enums');
  if (MESSAGES.test(test.expr) || /\bmsg\b/.test(test.expr) && test.typeEnv) exclude('messages');
  for (const [, pattern] of MACROS) if (pattern.test(test.expr)) exclude('macros');
}

/* --- cases --- */

function converted(file, section, test) {
  refuse(file, test);
  const result = { n: `${section}/${test.name}`, e: test.expr };
  const expected = test.typedResult ? test.typedResult.result : test.value;
  if (test.typedResult?.deducedType) result.type = type(test.typedResult.deducedType);
  if (test.evalError) result.error = test.evalError.errors?.[0]?.message ?? '';
  else if (expected) result.v = value(expected);
  else if (!test.typedResult) result.v = ['bool', true]; /* as the format says of a case without a result */
  if (test.disableCheck) result.unchecked = true;
  if (test.checkOnly) result.checkOnly = true;
  if (test.container) result.container = test.container;
  const variables = {};
  for (const { name, ident, function: declared } of test.typeEnv ?? []) {
    if (ident) variables[name] = { type: type(ident.type) };
    for (const overload of declared?.overloads ?? []) {
      (result.functions ??= []).push([name, `${(overload.params ?? []).map(type).join(', ')}: ${type(overload.resultType)}`]);
    }
  }
  for (const [name, binding] of Object.entries(test.bindings ?? {})) {
    variables[name] = { type: 'dyn', ...variables[name], v: value(binding.value) };
  }
  if (Object.keys(variables).length) result.variables = variables;
  return JSON.stringify(result);
}

const counts = [];
for (const file of tests.suites) {
  const lines = [], count = { file: file.name, cases: 0, kept: 0, messages: 0, enums: 0, macros: 0 };
  for (const section of file.suites ?? []) {
    for (const { original } of section.tests) {
      count.cases++;
      try {
        lines.push(converted(file.name, section.name, original));
        count.kept++;
      } catch (problem) {
        if (!(problem instanceof Excluded)) throw problem;
        count[problem.message]++;
      }
    }
  }
  if (lines.length) fs.writeFileSync(path.join(into, `${file.name}.jsonl`), `${lines.join('\n')}\n`);
  counts.push(count);
}
console.log('| file | cases | here | messages | enums | macros |\n|---|---|---|---|---|---|');
const total = { file: 'all', cases: 0, kept: 0, messages: 0, enums: 0, macros: 0 };
for (const count of counts) for (const key of Object.keys(total)) if (key !== 'file') total[key] += count[key];
for (const c of [...counts, total]) console.log(`| ${c.file} | ${c.cases} | ${c.kept} | ${c.messages} | ${c.enums} | ${c.macros} |`);
