'use strict';
const { CommandError, run } = require('./run.js');

/**
 * Runs the npm that runs us, or the one on the PATH.
 * @returns {Promise<string>} all that it wrote
 */
async function npm(args, options) {
  const given = process.env.npm_execpath;
  const [command, ...first] = given?.endsWith('.js') ? [process.execPath, given] : ['npm'];
  try {
    return await run(command, [...first, ...args], options);
  } catch (error) {
    const output = error instanceof CommandError ? error.output.trim() : '';
    throw new Error(`npm ${args[0]} failed: ${error.message}\n${output}`, { cause: error });
  }
}

module.exports = { npm };
