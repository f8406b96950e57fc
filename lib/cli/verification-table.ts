/** What `pare verify-resume` prints: a line for each stage, and where it was killed in it. */
import type { ResumeVerification } from '../pipeline';

type Stage = ResumeVerification['stages'][number];

export function verificationLines(result: ResumeVerification): string[] {
  const { stages, kills, seed, dir, identical } = result;
  const width = Math.max(...stages.map(({ name }) => name.length));
  const contents = stages.map(contentOf);
  const wide = Math.max(...contents.map((text) => text.length));
  const lines = stages.flatMap((stage, i) => [
    `${stage.name.padEnd(width)}  ${contents[i]!.padEnd(wide)}  ${verdictOf(stage)}`,
    ...stage.kills.map(({ point, torn }) => {
      const half = torn.length === 0 ? '' : ` (half-written: ${torn.at(-1)})`;
      return `  killed: ${point}${half}`;
    }),
  ]);
  const torn = stages.flatMap((stage) => stage.kills).filter((kill) => kill.torn.length > 0).length;
  const verdict = identical ? 'identical to the run that was left alone' : 'not identical';
  lines.push('', `${kills} kills (seed ${seed}), ${torn} in the middle of a write: ${verdict}`);
  if (dir !== undefined) lines.push(`runs:  ${dir}/whole/run, ${dir}/killed/run`);
  return lines;
}

function contentOf({ steps, candidates, files, bytes }: Stage): string {
  const parts = [
    ...(steps === undefined ? [] : [`${steps} steps`]),
    ...(candidates === undefined ? [] : [`${candidates} candidates`]),
    `${files} files`,
    `${(bytes / 1e6).toFixed(2)} MB`,
  ];
  return parts.join(', ');
}

function verdictOf({ difference, given, kills }: Stage): string {
  if (difference !== undefined) return `differs: ${difference}`;
  if (given) return 'identical; nothing was made';
  return kills.length > 0 ? 'identical' : 'identical; not killed here';
}
