#!/usr/bin/env node
'use strict';
// Committed, not compiled: npx links a package's command once, when it is first asked for it, and a
// file that is missing then stays without a link for ever.
const fs = require('node:fs');
const path = require('node:path');

const root = path.dirname(__dirname);
const program = path.join(root, 'dist', 'cli', 'index.js');
if (fs.existsSync(program)) {
  require(program);
} else {
  console.error(`pare: ${root} is not compiled yet; run 'npm run build' there`);
  process.exitCode = 1;
}
