/**
 * Makes the demo's corpus in a process of its own, which ends itself by a signal when so many
 * batches have been spoken: `node demo-corpus-child.js DIR OPTIONS SIGNAL BATCHES`.
 */
require('../typescript');
const { makeDemoCorpus } = require('../../lib/data/demo');
const { UnfinishedCorpus } = require('../../lib/data/demo/unfinished');

const [dir, options, signal, batches] = process.argv.slice(2);
let left = Number(batches);
const { add } = UnfinishedCorpus.prototype;
UnfinishedCorpus.prototype.add = function (...args) {
  add.apply(this, args);
  if (--left === 0) process.kill(process.pid, signal);
};
void makeDemoCorpus(dir, JSON.parse(options));
