import { Command } from 'commander';
import { examples } from '../arguments';
import type { Context } from '../context';
import type { Finding } from '../diagnosis';

const marks: Record<Finding['status'], string> = { ok: 'ok', note: '--', missing: 'MISSING' };

export function doctorCommand(context: Context): Command {
  return new Command('doctor')
    .description('Say whether pare can run here, and what is missing.')
    .option('--json', 'print {name, status, detail}, a finding a line')
    .addHelpText(
      'after',
      examples('pare doctor', 'pare doctor --json') +
        '\nThe exit status is 1 if something is missing that pare needs.\n',
    )
    .action(async (options: { json?: boolean }) => {
      const { diagnose } = await import('../diagnosis');
      const findings = await diagnose(context.env);
      for (const { name, status, detail } of findings) {
        if (options.json) context.print(JSON.stringify({ name, status, detail }));
        else context.print(`${marks[status].padEnd(9)}${name.padEnd(14)}${detail}`);
      }
      if (findings.some(({ status }) => status === 'missing')) context.exitCode = 1;
    });
}
