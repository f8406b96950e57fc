/** The program, as bin/pare.js starts it. */
import { fileError } from '../files';
import { Context } from './context';
import { runProgram } from './program';

const context = new Context(process.stdout, process.stderr);

// A reader that has seen enough (`pare … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  context.fail(fileError('write', 'standard output', error));
  process.exit(context.exitCode);
});

void runProgram(process.argv.slice(2), context).then((exitCode) => {
  process.exitCode = exitCode;
});
