// An OpenID provider for tests: oidc-provider with its development pages, on loopback.
//
// SETTINGS (JSON): port, backchannel (where logouts are told; absent: nowhere), audience (access
// tokens are JWTs for it; absent: they are opaque), certificate and key (files; absent: no https),
// web (the origin that `sallyport-web` signs in at).
// Besides the provider's own paths there are two by which a test changes the world:
//   POST /test/groups?sub=ann  (body: JSON list)   what the person is in from now
//   POST /test/rotate                              sign with a new key; the old one is gone
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createPrivateServer } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const settings = JSON.parse(process.env.SETTINGS);
const issuer = `${settings.key ? 'https' : 'http'}://127.0.0.1:${settings.port}`;
const groups = new Map();
let count = 0;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  count += 1;
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${count}`, use: 'sig', alg: 'RS256' };
}

function client(id, more) {
  return {
    client_id: id,
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: [
      'authorization_code',
      'refresh_token',
      'urn:ietf:params:oauth:grant-type:device_code',
    ],
    ...more,
  };
}

const told = settings.backchannel ? {
  backchannel_logout_uri: settings.backchannel,
  backchannel_logout_session_required: true,
} : {};

const forms = settings.audience ? {
  resourceIndicators: {
    enabled: true,
    defaultResource: () => 'urn:example:gateway',
    useGrantedResource: () => true,
    getResourceServerInfo: () => ({
      audience: settings.audience, scope: 'openid groups', accessTokenFormat: 'jwt',
    }),
  },
} : {};

function make(keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [
      client('sallyport', told),
      client('sallyport-web', {
        application_type: 'web',
        client_secret: 'only-for-tests: 100%',
        token_endpoint_auth_method: 'client_secret_basic',
        redirect_uris: [`${settings.web}/login/callback/corp`],
        post_logout_redirect_uris: [`${settings.web}/logout`],
        grant_types: ['authorization_code', 'refresh_token'],
        ...told,
      }),
      client('with-secret', {
        client_secret: 'told-to-anybody',
        token_endpoint_auth_method: 'client_secret_post',
        ...told,
      }),
      client('machine', {
        client_secret: 'only-for-tests: 100%',
        token_endpoint_auth_method: 'client_secret_basic',
        redirect_uris: [],
        response_types: [],
        grant_types: ['client_credentials'],
      }),
      client('code-only', { grant_types: ['authorization_code', 'refresh_token'], ...told }),
    ],
    claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    scopes: ['openid', 'offline_access', 'email', 'profile'],
    rotateRefreshToken: true,
    // What it calls is on loopback, which its own dispatcher keeps it from.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    cookies: { keys: ['only-for-tests'] },
    findAccount: (_ctx, sub) => ({
      accountId: sub,
      claims: () => ({
        sub,
        name: sub,
        email: `${sub}@example.com`,
        email_verified: true,
        groups: groups.get(sub) ?? ['agents'],
      }),
    }),
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
      ...forms,
    },
    extraTokenClaims: (_ctx, token) => ({ groups: groups.get(token.accountId) ?? ['agents'] }),
    // seconds
    ttl: { AccessToken: 300, AuthorizationCode: 60, DeviceCode: 120, Grant: 3600, IdToken: 300,
      Interaction: 300, RefreshToken: 3600, Session: 3600 },
  });
}

function listening() {
  const provider = make([newKey()]);
  provider.on('backchannel.error', (_ctx, error) => console.error('not told:', error.message));
  provider.on('backchannel.success', () => console.log('told'));
  provider.on('server_error', (_ctx, error) => console.error('failed', error));
  return provider.callback();
}

let callback = listening();

async function body(request) {
  let text = '';
  for await (const part of request) text += part;
  return text;
}

async function answer(request, response) {
  const url = new URL(request.url, issuer);
  if (!url.pathname.startsWith('/test/')) {
    callback(request, response);
    return;
  }
  if (url.pathname === '/test/groups') {
    groups.set(url.searchParams.get('sub'), JSON.parse(await body(request)));
  } else if (url.pathname === '/test/rotate') {
    callback = listening();
  } else {
    response.statusCode = 404;
  }
  response.end('{}');
}

const server = settings.key ? createPrivateServer({
  cert: readFileSync(settings.certificate), key: readFileSync(settings.key),
}, answer) : createServer(answer);
server.listen(settings.port, '127.0.0.1', () => console.log('listening'));
