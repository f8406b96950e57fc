#!/usr/bin/env node
import { Context } from './context';
import { runProgram } from './program';

// A reader that has seen enough (`pare … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

void runProgram(process.argv.slice(2), new Context(process.stdout, process.stderr)).then(
  (exitCode) => {
    process.exitCode = exitCode;
  },
);
