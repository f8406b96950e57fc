/**
 * Follows a recipe in a process of its own: `node child.js RECIPE [EVENT]`. With an event
 * (`importance 3`, a label and how much is done, or `stage pruned`) the process kills itself there,
 * by a signal that nothing can catch. Prints one line of JSON: the error's class and message, or the
 * student's folder and the process' peak of memory in bytes.
 */
require('../typescript');
const { readFileSync } = require('node:fs');
const { runRecipe } = require('../../lib/pipeline');

const [recipe, event] = process.argv.slice(2);
const at = (what) => {
  if (what === event) process.kill(process.pid, 'SIGKILL');
};

/** The most resident memory. What getrusage says counts the parent's, which was forked. */
function peak() {
  return 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
}

runRecipe(recipe, {
  ignorePlan: true, // A disk is to become full.
  onProgress: ({ label, done }) => at(`${label} ${done}`),
  onStage: (name) => at(`stage ${name}`),
}).then(
  ({ student }) => console.log(JSON.stringify({ student, peak: peak() })),
  ({ constructor, name, message }) =>
    console.log(JSON.stringify({ error: name, message, class: constructor.name })),
);
