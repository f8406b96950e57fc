/** A step of QLoRA (forward, backward, clipping, optimiser) beside transformers, PEFT and bitsandbytes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { example, writeHalfBillion } from './half-billion';
import { Contestant, median, race } from './race';

async function main(): Promise<void> {
  const [python, rounds = '5'] = process.argv.slice(2);
  const dir = join(process.cwd(), 'build/bench/half-billion');
  writeHalfBillion(dir);
  const { inputIds, labels, mel } = example();
  const exampleFile = join(process.cwd(), 'build/bench/example.json');
  writeFileSync(
    exampleFile,
    JSON.stringify({ inputIds, labels, frames: mel.frames, mel: [...mel.data] }),
  );
  for (const mode of ['whole', 'checkpointed']) {
    const own = await Contestant.start('pare', [
      process.execPath,
      join(__dirname, 'contestants/qlora-step.js'),
      dir,
      mode,
    ]);
    const peer = await Contestant.start('peft', [
      python!,
      'bench/peers/qlora_step.py',
      dir,
      exampleFile,
      mode,
      '2',
    ]);
    console.log(own.ready, peer.ready);
    const results = await race([own.contestant, peer.contestant], {}, Number(rounds));
    console.log(mode, results);
    const [a, b] = results.map((r) => median(r.map(({ ms }) => ms)));
    console.log(mode, a, b, b! / a!);
    await own.contestant.stop();
    await peer.contestant.stop();
  }
}
void main();
