/** Greedy generation with pare; see ../generation.ts. */
import { quantizeModel } from '../../lib/compress';
import { collate, generate, loadModel } from '../../lib/qwen2-audio';
import { keep, torchVersion, zeros } from '../../lib/torch';
import { serve } from './serve';

const [dir, mode] = process.argv.slice(2);
const model = loadModel(dir!);
if (mode !== 'whole') quantizeModel(model, { lmHead: mode === 'lmHead' });
model.eval();

void serve(
  { versions: `libtorch ${torchVersion()}, Node ${process.versions.node}` },
  async (request) => {
    const { prompt, batch, newTokens } = request as unknown as {
      prompt: number[];
      batch: number;
      newTokens: number;
    };
    // Text alone: a clip without frames in the prompt.
    const mel = { data: new Float32Array(128), nMels: 128, computedFrames: 1, frames: 1, floor: 0 };
    const run = async (tokens: number): Promise<number> => {
      const examples = Array.from({ length: batch }, (_, i) => ({
        inputIds: prompt.map((id) => id + i),
        mel,
      }));
      const inputs = collate(model, examples, 'left');
      const audioFeatures = keep(zeros([0, model.config.text.hiddenSize], { dtype: model.dtype }));
      const start = performance.now();
      await generate(model, inputs, { maxNewTokens: tokens, audioFeatures });
      const ms = performance.now() - start;
      for (const t of [inputs.inputIds, inputs.inputFeatures, audioFeatures]) t.dispose();
      return ms;
    };
    const first = await run(1);
    const all = await run(newTokens);
    return { ms: (all - first) / (newTokens - 1), firstMs: first };
  },
);
