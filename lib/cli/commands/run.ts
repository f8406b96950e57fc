import { Command } from 'commander';
import { examples } from '../arguments';
import { isAbort, type Context } from '../context';
import { duration, Progress } from '../progress';

interface RunFlags {
  fromScratch?: boolean;
  set: string[];
  json?: boolean;
}

export function runCommand(context: Context): Command {
  return new Command('run')
    .description('Follow a recipe from teacher to report; what is done already is not done again.')
    .argument('<recipe>', 'YAML file; see recipes/')
    .option('--from-scratch', 'train a teacher that has a recipe of its own, instead of taking it')
    .option(
      '--set <key=value>',
      'change the recipe, such as importance.remove=8; an empty value leaves the key out; repeatable',
      (setting: string, before: string[]) => [...before, setting],
      [],
    )
    .option('--json', 'print {dir, student, reportPath, models} in place of the table')
    .addHelpText(
      'after',
      examples(
        'pare run recipes/demo.yaml',
        'pare run recipes/demo.yaml --from-scratch',
        'pare run recipes/demo.yaml --set importance.remove=4 --set output=runs/eight-layers',
        'pare run recipes/demo.yaml --json | tail -n 1 | jq -r .reportPath',
      ) +
        '\nA run that was interrupted goes on where it was: give the same command again.\n' +
        'Ctrl-C stops at the next safe place, a second one at once.\n',
    )
    .action(async (recipe: string, options: RunFlags) => {
      const { readRecipe } = await import('../../pipeline/recipe');
      // A wrong recipe is told before libtorch is loaded.
      readRecipe(recipe, options.set);
      const { runRecipe } = await import('../../pipeline');
      const { renderTable } = await import('../../report');
      const progress = new Progress(context.stderr, context.now);
      const interruption = new AbortController();
      const interrupt = (): void => interruption.abort();
      process.once('SIGINT', interrupt);
      try {
        const result = await runRecipe(recipe, {
          fromScratch: options.fromScratch,
          set: options.set,
          signal: interruption.signal,
          onProgress: ({ label, done, total, note }) => progress.update(label, done, total, note),
          onStage: (name, { reused, seconds }) => {
            progress.stop();
            context.note(`${name}: ${reused ? 'taken from before' : duration(seconds)}`);
          },
        });
        const { dir, student, reportPath, report } = result;
        if (options.json) {
          context.print(JSON.stringify({ dir, student, reportPath, models: report.models }));
        } else {
          context.print(renderTable(report).trimEnd());
          context.print(`\nstudent: ${student}\nreport:  ${reportPath}`);
        }
      } catch (error) {
        progress.stop();
        if (!isAbort(error)) throw error;
        context.fail(error);
        context.note('the same command goes on where this run was');
      } finally {
        process.removeListener('SIGINT', interrupt);
        progress.stop();
      }
    });
}
