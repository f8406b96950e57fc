/** A step of QLoRA (forward, backward, clipping, optimiser) beside transformers, PEFT and bitsandbytes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { example, halfBillion } from '../half-billion';
import { Contestant, median, race } from '../race';
import {
  machine,
  ours,
  print,
  printTable,
  rounds,
  spread,
  theirs,
  threads,
  times,
} from '../settings';

async function main(): Promise<void> {
  const dir = halfBillion();
  const { inputIds, labels, mel } = example();
  const exampleFile = join(dir, '..', 'example.json');
  writeFileSync(
    exampleFile,
    JSON.stringify({ inputIds, labels, frames: mel.frames, mel: [...mel.data] }),
  );
  print(
    '## A QLoRA step beside transformers, PEFT and bitsandbytes',
    'A text decoder of Qwen2-0.5B’s shape behind a small audio tower, base in NF4 with double ' +
      'quantisation, bfloat16 arithmetic, LoRA of rank 64 on every linear layer (38.8 M trainable ' +
      'parameters in float32), one example of 512 tokens, 262 of them targets. Forward, backward, ' +
      'clipping, fused AdamW. Peak memory is the process’s, from the kernel, in steps after the first.',
    'Goals: 1.5 times faster, 0.7 of the memory. The peer runs as its users run it, under autocast; ' +
      'its weights are not cast to float32 first, as `prepare_model_for_kbit_training` would.',
  );
  const rows: unknown[][] = [];
  let versions = '';
  for (const mode of ['kept', 'checkpointed']) {
    const a = await Contestant.start('pare', ours('qlora-step', dir, mode));
    const b = await Contestant.start(
      'PEFT',
      theirs('qlora_step', dir, exampleFile, mode, String(threads)),
    );
    versions = machine(a.ready.versions, b.ready.versions);
    const [own, peer] = await race([a.contestant, b.contestant], {}, rounds);
    await Promise.all([a.contestant.stop(), b.contestant.stop()]);
    const seconds = (all: typeof own): string =>
      spread(
        all!.map(({ ms }) => ms / 1000),
        2,
      );
    const memory = (all: typeof own): number => median(all!.map(({ megabytes }) => megabytes!));
    rows.push([
      mode,
      seconds(own),
      seconds(peer),
      times(peer!, own!).toFixed(2),
      memory(own).toFixed(0),
      memory(peer).toFixed(0),
      (memory(own) / memory(peer)).toFixed(2),
      `${own!.at(-1)!.loss!.toFixed(3)} / ${peer!.at(-1)!.loss!.toFixed(3)}`,
    ]);
  }
  print(`${versions}; ${rounds} rounds`);
  printTable(
    [
      ...['activations', 'pare, s', 'PEFT, s', 'times faster', 'pare, MB', 'PEFT, MB'],
      ...['of its memory', 'loss of the last step, pare / PEFT'],
    ],
    rows,
  );
}

void main();
