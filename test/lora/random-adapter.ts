import { attachLora, saveAdapter, type LoraConfig } from '../../lib/lora';
import { loadModel } from '../../lib/qwen2-audio';
import { Generator, noGrad, randn, scope } from '../../lib/torch';

/** Writes an adapter that changes what a checkpoint says: B is random, too. */
export function writeRandomAdapter(
  dir: string,
  checkpoint: string,
  config: LoraConfig,
  seed: number,
  std: number = 0.1,
): void {
  using model = loadModel(checkpoint);
  const generator = new Generator(seed);
  const adapter = attachLora(model, config, { generator });
  scope(() =>
    noGrad(() => {
      for (const { loraB } of adapter.layers.values()) {
        loraB.copy_(randn(loraB.shape, { generator }).mul(std));
      }
    }),
  );
  saveAdapter(dir, adapter, { baseModelNameOrPath: checkpoint });
}
