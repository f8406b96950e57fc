/** One QLoRA step after another with pare; see ../qlora-step.ts. */
import { attachLora } from '../../lib/lora';
import { quantizeModel } from '../../lib/compress';
import { collate, loadModel } from '../../lib/qwen2-audio';
import { autocast, backward, Generator, optim, scope, torchVersion } from '../../lib/torch';
import { example } from '../half-billion';
import { peakMegabytes, resetPeak, serve } from './serve';

const [dir, checkpointed] = process.argv.slice(2);
const model = loadModel(dir!);
quantizeModel(model);
const adapter = attachLora(
  model,
  { r: 64, loraAlpha: 128, useRslora: true, targetModules: 'all-linear' },
  { generator: new Generator(1) },
);
model.train();
model.gradientCheckpointing = checkpointed === 'checkpointed';
const group = { parameters: adapter.parameters(), weightDecay: 0 };
const optimizer = new optim.AdamW([group]);
const batch = collate(model, [example()], 'right');
let first = true;

function step(): number {
  const start = performance.now();
  const loss = scope(() => {
    const { loss, targets } = autocast(() => model.loss(batch));
    const mean = loss.div(targets);
    backward(mean);
    return mean.item();
  });
  optim.clipGradNorm(optimizer.parameters, 1);
  optimizer.step(1e-5);
  optimizer.zeroGrad();
  lastLoss = loss;
  return performance.now() - start;
}
let lastLoss = NaN;

void serve({ versions: `libtorch ${torchVersion()}, Node ${process.versions.node}` }, () => {
  const ms = step();
  if (first) resetPeak();
  first = false;
  return { ms, megabytes: peakMegabytes(), loss: lastLoss };
});
