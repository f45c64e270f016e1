// An EHR's authorization server for the tests, of another project: oidc-provider, and on top of it what SMART App Launch
// adds (discovery beside the FHIR server, launch context, `aud`, and a FHIR server that lets only its tokens in).
//   node server.mjs '{"port": …, "fhir": "http://…", "clients": […], "users": {"name": ["group", …]}}'
// It serves until SIGTERM or the end of its standard input. `fhir` is the FHIR server behind it. Besides, it takes
//   POST /launches {"patient": …, "encounter": …}: the EHR begins a launch; the answer is its id
//   GET /tokens: the tokens that it has given out, for a test that looks for them where they must not be

import Provider, { interactionPolicy } from 'oidc-provider';
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';

const { port, fhir, clients, users } = JSON.parse(process.argv[2]);
const ORIGIN = `http://localhost:${port}`;
const FHIR = `${ORIGIN}/fhir`;
const KINDS = [
  'AllergyIntolerance', 'Condition', 'Encounter', 'Medication', 'MedicationAdministration', 'MedicationRequest',
  'MedicationStatement', 'Observation', 'Patient', 'Procedure', 'ServiceRequest',
];
const launches = new Map();
/** What an app is told of the launch, by the grant that it led to. */
const contexts = new Map();
const given = [];

/** Each launch is confirmed anew, also by who is signed in: it may be about another patient. */
const policy = interactionPolicy.base();
policy.get('consent').checks.add(new interactionPolicy.Check(
  'each_launch', 'each launch is confirmed', (ctx) => !ctx.oidc.result?.consent));

const provider = new Provider(ORIGIN, {
  clients,
  claims: { openid: ['sub'], groups: ['groups'] },
  scopes: ['openid', 'launch', 'launch/patient', ...KINDS.map((kind) => `patient/${kind}.rs`)],
  conformIdTokenClaims: false, // many put the groups into the ID token
  extraParams: ['aud', 'launch'],
  features: { devInteractions: { enabled: false } },
  interactions: { policy, url: (ctx, interaction) => `/sign-in/${interaction.uid}` },
  cookies: { keys: [randomUUID()] },
  ttl: { AccessToken: 900, AuthorizationCode: 60, Grant: 900, IdToken: 900, Interaction: 600, Session: 900 },
  pkce: { methods: ['S256'], required: () => true },
  findAccount: (ctx, name) => name in users && { accountId: name, claims: () => ({ sub: name, groups: users[name] }) },
});

provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === 'token' && ctx.status === 200) {
    given.push(ctx.body.access_token);
    Object.assign(ctx.body, contexts.get(ctx.oidc.entities.Grant.jti));
  }
});

function page(params, uid) {
  const names = Object.keys(users).map((name) => `<button name="user" value="${name}">${name}</button>`).join(' ');
  const asks = params.scope.split(' ').includes('launch/patient');
  const whom = asks ? '<label>Patient <input name="patient"></label>' : '';
  return `<!doctype html><html lang="en"><title>Sign in</title><link rel="icon" href="data:,">
    <main><h1>The EHR's own sign-in</h1><form method="post" action="/sign-in/${uid}">${whom} ${names}</form></main></html>`;
}

/** An app that asks for the data of another server, or comes with a launch of nobody's, is sent back. */
function refused(params) {
  const isApp = params.scope.split(' ').some((scope) => scope.startsWith('patient/'));
  if (isApp && params.aud !== FHIR) {
    return { error: 'invalid_request', error_description: 'aud is not this FHIR server' };
  }
  if (params.scope.split(' ').includes('launch') && !launches.has(params.launch)) {
    return { error: 'invalid_request', error_description: 'no such launch' };
  }
  return undefined;
}

async function signIn(request, response, form) {
  const { params, uid } = await provider.interactionDetails(request, response);
  const refusal = refused(params);
  if (refusal) {
    await provider.interactionFinished(request, response, refusal);
  } else if (!form) {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(page(params, uid));
  } else if (form.get('user') === 'nobody') {
    await provider.interactionFinished(request, response, { error: 'access_denied' });
  } else {
    const accountId = form.get('user');
    const grant = new provider.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    const grantId = await grant.save();
    contexts.set(grantId, launches.get(params.launch) ?? (form.get('patient') ? { patient: form.get('patient') } : {}));
    await provider.interactionFinished(request, response, { login: { accountId }, consent: { grantId } });
  }
}

async function readFhir(request, response) {
  const [kind] = request.url.slice('/fhir/'.length).split(/[/?]/);
  const token = await provider.AccessToken.find((request.headers.authorization ?? '').replace(/^Bearer /, ''));
  const may = kind === 'metadata' || (token && token.scope?.split(' ').includes(`patient/${kind}.rs`));
  if (request.method !== 'GET' || !may) {
    response.writeHead(token ? 403 : 401, { 'Content-Type': 'application/fhir+json' });
    response.end('{"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "security"}]}');
    return;
  }
  const answer = await fetch(fhir + request.url.slice('/fhir'.length));
  response.writeHead(answer.status, { 'Content-Type': 'application/fhir+json' });
  response.end(Buffer.from(await answer.arrayBuffer()));
}

const SMART = {
  issuer: ORIGIN,
  jwks_uri: `${ORIGIN}/jwks`,
  authorization_endpoint: `${ORIGIN}/auth`,
  token_endpoint: `${ORIGIN}/token`,
  grant_types_supported: ['authorization_code'],
  code_challenge_methods_supported: ['S256'],
  capabilities: [
    'launch-ehr', 'launch-standalone', 'client-public', 'client-confidential-symmetric', 'context-ehr-patient',
    'context-ehr-encounter', 'context-standalone-patient', 'permission-patient', 'permission-v2',
  ],
};

function json(response, content) {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(content));
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) {
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

const handle = provider.callback();
const server = createServer(async (request, response) => {
  try {
    const { pathname } = new URL(request.url, ORIGIN);
    if (pathname === '/fhir/.well-known/smart-configuration') {
      json(response, SMART);
    } else if (pathname.startsWith('/fhir/')) {
      await readFhir(request, response);
    } else if (pathname === '/launches') {
      const id = randomUUID();
      launches.set(id, JSON.parse(await bodyOf(request)));
      json(response, { launch: id });
    } else if (pathname === '/tokens') {
      json(response, given);
    } else if (pathname.startsWith('/sign-in/')) {
      await signIn(request, response, request.method === 'POST' && new URLSearchParams(await bodyOf(request)));
    } else {
      await handle(request, response);
    }
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error.stack));
  }
});
server.listen(port, '127.0.0.1');
// A test run that is killed outright cannot send SIGTERM, but its end of the pipe closes all the same.
process.stdin.on('end', () => process.exit(0)).resume();
