/** The program `pare`: its commands, and how each of its ends becomes an exit status. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { examples, UsageError } from './arguments';
import { compareCommand } from './commands/compare';
import { completionCommand } from './commands/completion';
import { doctorCommand } from './commands/doctor';
import { evaluateCommand } from './commands/evaluate';
import { inspectCommand } from './commands/inspect';
import { mergeCommand } from './commands/merge';
import { pruneCommand } from './commands/prune';
import { quantizeCommand } from './commands/quantize';
import { runCommand } from './commands/run';
import { scoreCommand } from './commands/score';
import { synthCommand } from './commands/synth';
import { translateCommand } from './commands/translate';
import { verifyResumeCommand } from './commands/verify-resume';
import { corpusCommand } from './commands/corpus';
import { distillCommand } from './commands/distill';
import { finetuneCommand } from './commands/finetune';
import { importanceCommand } from './commands/importance';
import { reportCommand } from './commands/report';
import type { Context } from './context';

// Commands load what they need when they run: `pare --help`, `score`, `compare`, `inspect` and
// `doctor` work without the addon.
const commands: readonly ((context: Context) => Command)[] = [
  runCommand,
  verifyResumeCommand,
  reportCommand,
  translateCommand,
  evaluateCommand,
  scoreCommand,
  compareCommand,
  corpusCommand,
  finetuneCommand,
  importanceCommand,
  distillCommand,
  pruneCommand,
  mergeCommand,
  quantizeCommand,
  inspectCommand,
  synthCommand,
  doctorCommand,
];

/** The version in package.json, two levels up from lib/cli as from dist/cli. */
export function packageVersion(): string {
  const path = join(__dirname, '../../package.json');
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}

function program(context: Context): Command {
  const root = new Command('pare')
    .description('Make large speech-translation models small.')
    .version(packageVersion(), '-V, --version')
    .addHelpText(
      'after',
      examples(
        'pare run recipes/demo.yaml',
        'pare translate --model checkpoints/student --to German talk.wav',
        'pare inspect checkpoints/student --json',
        'pare doctor',
      ) + '\nExit status: 0 good, 1 something failed, 2 the command line makes no sense.\n',
    );
  for (const command of commands) root.addCommand(command(context));
  root.addCommand(completionCommand(context, root));
  root.hook('preAction', (_, command) => {
    const { quiet, verbose } = command.optsWithGlobals<{ quiet?: boolean; verbose?: boolean }>();
    if (quiet && verbose) throw new UsageError('--quiet and --verbose exclude each other');
    context.verbosity = quiet ? 'quiet' : verbose ? 'verbose' : 'normal';
    refuseEmpty(command);
  });
  for (const command of withSubcommands(root)) {
    command
      .option('--quiet', 'tell nothing of the work; errors are told')
      .option('--verbose', 'tell more of the work, and where in the program an error arose')
      .exitOverride()
      .showHelpAfterError(false)
      .configureOutput({
        writeOut: (text) => context.stdout.write(text),
        writeErr: (text) => context.stderr.write(text),
        // Commander's errors are reported below, as all others.
        outputError: () => undefined,
      });
  }
  return root;
}

/** An empty text (an unset variable of a shell) names no file; said here, it has a name itself. */
function refuseEmpty(command: Command): void {
  const option = command.options.find((one) => command.getOptionValue(one.attributeName()) === '');
  const at = command.args.indexOf('');
  if (option === undefined && at < 0) return;
  const names = command.registeredArguments.map((argument) => argument.name());
  const what = option ? `option '${option.flags}'` : `argument '${names[at] ?? names.at(-1)}'`;
  throw new UsageError(`${what} is empty; give a value (see pare --help)`);
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

/**
 * Runs one command line.
 * @param args without `node` and the program's name
 * @returns the exit status: 0 good, 1 failure, 2 usage
 */
export async function runProgram(args: readonly string[], context: Context): Promise<number> {
  context.args = args;
  try {
    await program(context).parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      context.fail(error, error instanceof UsageError ? 2 : 1);
    } else if (error.code === 'commander.help') {
      // No command was given; commander has written the help to standard error.
      context.exitCode = 2;
    } else if (error.exitCode !== 0) {
      const message = error.message.replace(/^error: /, '');
      context.fail(new UsageError(`${message} (see pare --help)`), 2);
    }
  }
  return context.exitCode;
}
