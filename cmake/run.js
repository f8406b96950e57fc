'use strict';
const { spawn } = require('node:child_process');

/** A command that could not be started or did not exit with 0; `output` is all it wrote. */
class CommandError extends Error {
  constructor(message, output, code) {
    super(message);
    this.name = 'CommandError';
    this.output = output;
    this.code = code;
  }
}

const children = new Set();

// A set-up that is stopped takes its children along, and `exit` handlers (locks) get their turn.
let guarded = false;
function guard() {
  if (guarded) return;
  guarded = true;
  process.on('exit', () => children.forEach((child) => child.kill()));
  for (const [signal, code] of Object.entries({ SIGHUP: 129, SIGINT: 130, SIGTERM: 143 })) {
    process.on(signal, () => process.exit(code));
  }
}

/**
 * Runs a command without a shell and without standard input.
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: object, onLine?: (line: string) => void, timeoutMs?: number}} options
 *   `onLine` gets each line of both outputs as it comes; the command is ended after `timeoutMs`
 * @returns {Promise<string>} all that it wrote
 */
function run(command, args, options = {}) {
  guard();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
    });
    children.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        const lines = (rest + text).split(/[\r\n]+/);
        rest = lines.pop();
        if (options.onLine) lines.forEach(options.onLine);
      });
    }
    child.on('error', (error) => {
      children.delete(child);
      reject(new CommandError(`cannot run ${command}: ${error.message}`, output, error.code));
    });
    child.on('close', (code, signal) => {
      children.delete(child);
      if (code === 0) return resolve(output);
      const how = signal ? `was ended by ${signal}` : `exited with ${code}`;
      reject(new CommandError(`${command} ${args[0] ?? ''} ${how}`, output, code));
    });
  });
}

module.exports = { run, guard, CommandError };
