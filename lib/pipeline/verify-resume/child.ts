/**
 * Follows a recipe in a process of its own, started by attempt.ts, which it tells what it does. Asked
 * to, it kills itself at a point of the run, by a signal that nothing can catch.
 */
import { relative, resolve } from 'node:path';
import { nameBehind, observeWrites } from '../../files';
import { runRecipe } from '../run';
import type { FromChild, ToChild } from './protocol';

const send = (message: FromChild): void => void process.send?.(message);
const die = (): void => void process.kill(process.pid, 'SIGKILL');

function follow({ file, set, output, kill }: ToChild): void {
  let stage = 0;
  let isArmed = false;
  const at = (key: string): void => {
    // Whatever comes next: the parent, who kills at any moment between, may be late.
    if (isArmed) die();
    if (kill === undefined) send({ event: { stage, key, time: performance.now() } });
    if (kill?.stage !== stage || kill.key !== key) return;
    send({ reached: kill.atOnce ? 'atOnce' : 'soon' });
    if (kill.atOnce) die();
    isArmed = true;
  };
  const run = resolve(output);
  observeWrites((path, phase) => {
    const place = relative(run, path);
    if (place.startsWith('..')) return;
    const name = place.split('/').map((part) => nameBehind(part) ?? part);
    at(`write ${phase} ${name.join('/')}`);
  });
  runRecipe(file, {
    set: [...set, `output=${output}`],
    onProgress: (progress) => {
      send({ progress });
      at(`${progress.label} ${progress.done}/${progress.total}`);
    },
    onStage: (name, { reused }) => {
      // No further point of this stage is to come.
      if (kill?.stage === stage) die();
      send({ stage: { name, reused } });
      stage++;
    },
    onWarning: (warning) => send({ warning }),
  }).then(
    () => {
      if (kill !== undefined) die();
      end({ done: true });
    },
    (error: unknown) => end({ error: error instanceof Error ? error.message : String(error) }),
  );
}

function end(message: FromChild): void {
  process.send?.(message, () => process.disconnect());
}

process.once('message', (message) => follow(message as ToChild));
// Whoever started it has ended.
process.on('disconnect', () => process.exit());
