import { Command } from 'commander';
import { examples } from '../arguments';
import type { Context } from '../context';

interface Options {
  output?: string;
  json?: boolean;
}

export function reportCommand(context: Context): Command {
  return new Command('report')
    .description('Print the table of a finished run, and draw its report again.')
    .argument('<run>', 'run folder')
    .option('--output <file>', 'where the page goes; report.html in the run folder unless given')
    .option('--json', 'print {reportPath, models} in place of the table')
    .addHelpText(
      'after',
      examples('pare report runs/demo', 'pare report runs/demo --output demo.html --json'),
    )
    .action(async (run: string, { output, json }: Options) => {
      const { drawReport } = await import('../../pipeline/draw-report');
      const { renderTable } = await import('../../report');
      const { report, reportPath } = drawReport(run, output);
      if (json) context.print(JSON.stringify({ reportPath, models: report.models }));
      else context.print(`${renderTable(report).trimEnd()}\n\nreport:  ${reportPath}`);
    });
}
