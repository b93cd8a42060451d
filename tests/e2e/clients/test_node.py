"""node-postgres: installed for the test where node and npm are there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import NewDatabase
from tests.e2e.clients.programs import LIMIT
from tests.support.gateway import Gateway

PROGRAM = r"""
const { Client, Pool, types } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const { from: copyFrom, to: copyTo } = require('pg-copy-streams');
const { pipeline } = require('node:stream/promises');
const { Readable, Writable } = require('node:stream');
const assert = require('node:assert');
const settings = JSON.parse(process.env.SETTINGS);

async function main() {
  const client = new Client(settings);
  await client.connect();
  const made = await client.query(
    'insert into things (name, tags, data, bytes, made) values ($1, $2, $3, $4, $5) returning *',
    ['né', ['a', 'b"c'], { n: [1, null] }, Buffer.from([0, 255]), new Date(0)]);
  assert.deepStrictEqual(made.rows[0].tags, ['a', 'b"c']);
  assert.deepStrictEqual(made.rows[0].data, { n: [1, null] });
  assert.deepStrictEqual([...made.rows[0].bytes], [0, 255]);
  assert.strictEqual(made.rows[0].made.getTime(), 0);

  for (let n = 0; n < 20; n++) {
    const got = await client.query({ name: 'plus', text: 'select $1::int + 1 as n', values: [n] });
    assert.strictEqual(got.rows[0].n, n + 1);
  }
  const binary = await client.query({ text: 'select $1::int as n', values: [7], binary: true });
  assert.strictEqual(binary.rows[0].n, 7);
  const several = await client.query('select 1 as a; select 2 as b');
  assert.strictEqual(several.length, 2);
  const queued = await Promise.all([1, 2, 3].map((n) => client.query('select $1::int as n', [n])));
  assert.deepStrictEqual(queued.map((r) => r.rows[0].n), [1, 2, 3]);

  await client.query('begin');
  await client.query("insert into things (id) values (1000)");
  await assert.rejects(client.query('insert into things (id) values (1000)'), { code: '23505' });
  await assert.rejects(client.query('select 1'), { code: '25P02' });
  await client.query('rollback');
  assert.strictEqual((await client.query('select 1 from things where id = 1000')).rowCount, 0);

  const cursor = client.query(new Cursor('select n from generate_series(1, $1::int) n', [25]));
  let seen = 0;
  for (;;) {
    const rows = await cursor.read(10);
    seen += rows.length;
    if (rows.length === 0) break;
  }
  assert.strictEqual(seen, 25);
  await cursor.close();
  seen = 0;
  for await (const row of client.query(new QueryStream('select generate_series(1, 500) n'))) seen++;
  assert.strictEqual(seen, 500);

  await pipeline(Readable.from(['2000\tx\n', '2001\ty\n']),
    client.query(copyFrom('copy things (id, name) from stdin')));
  let out = '';
  await pipeline(client.query(copyTo('copy (select id, name from things where id >= 2000) to stdout')),
    new Writable({ write(chunk, _, done) { out += chunk; done(); } }));
  assert.strictEqual(out, '2000\tx\n2001\ty\n');

  const heard = new Promise((done) => client.on('notification', (m) => done(m.payload)));
  await client.query('listen jobs');
  const pool = new Pool({ ...settings, max: 3 });
  await pool.query("notify jobs, 'go'");
  assert.strictEqual(await heard, 'go');
  const many = await Promise.all([...Array(20).keys()].map((n) => pool.query('select $1::int as n', [n])));
  assert.deepStrictEqual(many.map((r) => r.rows[0].n), [...Array(20).keys()]);
  await pool.end();
  await client.end();
  console.log('all passed');
}
main().catch((error) => { console.error(error); process.exit(1); });
"""
PACKAGES = ["pg@8", "pg-cursor@2", "pg-query-stream@4", "pg-copy-streams@7"]
SCHEMA = """create table things (id serial primary key, name text, tags text[], data jsonb,
    bytes bytea, made timestamptz)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with node-postgres installed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = tmp_path_factory.mktemp("node")
    (made / "package.json").write_text("{}")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
        cwd=made, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm could not install node-postgres: {done.stderr[-300:]}")
    return made


def test_node_postgres(folder: Path, agents: Gateway, new_database: NewDatabase) -> None:
    (folder / "main.js").write_text(PROGRAM)
    settings = {
        "host": "127.0.0.1", "port": agents.port, "user": "app", "password": agents.agent,
        "database": f"db/{new_database(SCHEMA)}",
    }  # fmt: skip
    done = subprocess.run(
        ["node", "main.js"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "SETTINGS": json.dumps(settings)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all passed\n"), done.stderr
