// A server on node's own HTTP. It counts every request, and tells on another port what it counted.
const http = require('node:http');
const https = require('node:https');
const fs = require('node:fs');
const crypto = require('node:crypto');
const settings = JSON.parse(process.argv[2]);
let counted = [];

function serve(request, response) {
  const one = { method: request.method, target: request.url, fields: [], length: 0, digest: '', whole: false, status: 200 };
  for (let n = 0; n < request.rawHeaders.length; n += 2) {
    one.fields.push([request.rawHeaders[n].toLowerCase(), request.rawHeaders[n + 1]]);
  }
  counted.push(one);
  const hash = crypto.createHash('sha256');
  request.on('data', (data) => { hash.update(data); one.length += data.length; });
  request.on('error', () => {});
  request.on('end', () => {
    one.digest = hash.digest('hex');
    one.whole = true;
    const body = JSON.stringify({ method: one.method, target: one.target, length: one.length, digest: one.digest });
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    response.end(request.method === 'HEAD' ? '' : body);
  });
}

const files = settings.tls && { cert: fs.readFileSync(settings.tls[0]), key: fs.readFileSync(settings.tls[1]) };
const server = files ? https.createServer(files, serve) : http.createServer(serve);
const admin = http.createServer((request, response) => {
  if (request.method === 'DELETE') counted = [];
  response.end(JSON.stringify(counted));
});
server.listen(settings.port, '127.0.0.1', () => admin.listen(settings.admin, '127.0.0.1'));
