/**
 * One process of several: `node program.js NAME [JSON]` calls `main(argument)` of programs/NAME.ts,
 * compiling TypeScript on the fly as jest does, and prints one line of JSON: `{ value }`, or
 * `{ error, message }`. `say` prints a line of its own in between.
 */
const { readFileSync } = require('node:fs');
const { transformSync } = require('@swc/core');

require.extensions['.ts'] = (module, filename) => {
  const jsc = { target: 'es2022', parser: { syntax: 'typescript' } };
  const options = { filename, jsc, module: { type: 'commonjs' }, swcrc: false };
  module._compile(transformSync(readFileSync(filename, 'utf8'), options).code, filename);
};

const [name, argument = 'null'] = process.argv.slice(2);
const { main } = require(`./programs/${name}.ts`);
const print = (line, then) => process.stdout.write(`${JSON.stringify(line)}\n`, then);

main(JSON.parse(argument), (said) => print({ said })).then(
  // Other ranks may hold connections open: the end is now.
  (value) => print({ value }, () => process.exit(0)),
  ({ name, message, stack }) => print({ error: name, message, stack }, () => process.exit(1)),
);
