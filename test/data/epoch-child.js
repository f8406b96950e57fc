/**
 * Reads a corpus in a process of its own, compiling TypeScript on the fly as jest does:
 * `node epoch-child.js DIR sounds|index`. `sounds` hears two epochs of it as training does, in
 * batches of 8, each sound as bytes; `index` only reads what is said. Prints one line of JSON: the
 * number of utterances, the bytes of sounds that were heard, a hash of the order, the process' peak
 * of resident memory and what the index holds, in bytes.
 */
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { setTimeout } = require('node:timers/promises');
const { transformSync } = require('@swc/core');

require.extensions['.ts'] = (module, filename) => {
  const jsc = { target: 'es2022', parser: { syntax: 'typescript' } };
  const options = { filename, jsc, module: { type: 'commonjs' }, swcrc: false };
  module._compile(transformSync(readFileSync(filename, 'utf8'), options).code, filename);
};

const { bucketBatches, openCorpus } = require('../../lib/data');

const [dir, what] = process.argv.slice(2);

/** Bytes of what is in use; promises that are done are in use until the event loop turns. */
async function heap() {
  await setTimeout(50);
  global.gc();
  global.gc();
  return process.memoryUsage().heapUsed;
}

async function main() {
  const corpus = await openCorpus(dir);
  const before = await heap();
  const utterances = await corpus.read('train');
  const index = (await heap()) - before;
  const hash = createHash('sha256');
  let bytes = 0;
  if (what === 'sounds') {
    const blocks = new Map();
    const numbers = utterances.map((utterance) => {
      const block = corpus.blockOf(utterance);
      if (!blocks.has(block)) blocks.set(block, blocks.size);
      return blocks.get(block);
    });
    const lengths = utterances.map(({ seconds }) => seconds);
    for (const epoch of [0, 1]) {
      for (const row of bucketBatches(lengths, 8, 1, epoch, numbers).flat()) {
        const sound = await corpus.audio(utterances[row]);
        bytes += sound.length;
        hash.update(`${row} ${sound[100]}`);
      }
    }
  }
  const peak = 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  const order = hash.digest('hex');
  console.log(JSON.stringify({ utterances: utterances.length, bytes, order, peak, index }));
}

main();
