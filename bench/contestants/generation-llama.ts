/** Greedy generation with llama.cpp through node-llama-cpp; see ../generation.ts. */
import { readFileSync } from 'node:fs';
import { serve } from './serve';

const [modelFile, packages, threads] = process.argv.slice(2);

interface Sequence {
  evaluate(tokens: number[], options: object): AsyncGenerator<number>;
  clearHistory(): Promise<void>;
  dispose(): void;
}

async function main(): Promise<void> {
  // An ES module: TypeScript would turn import() into require().
  const load = new Function('path', 'return import(path)') as (path: string) => Promise<{
    getLlama(options: object): Promise<{
      systemInfo: string;
      loadModel(options: object): Promise<{
        createContext(options: object): Promise<{ getSequence(): Sequence }>;
      }>;
    }>;
  }>;
  const { getLlama } = await load(`${packages}/node_modules/node-llama-cpp/dist/index.js`);
  const llama = await getLlama({ gpu: false, maxThreads: Number(threads), build: 'never' });
  const model = await llama.loadModel({ modelPath: modelFile });
  const manifest = readFileSync(`${packages}/node_modules/node-llama-cpp/package.json`, 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  let context: { getSequence(): Sequence } | undefined;
  let rows = 0;
  let sequences: Sequence[] = [];
  void serve(
    { versions: `node-llama-cpp ${version}`, system: llama.systemInfo },
    async (request) => {
      const { prompt, batch, newTokens } = request as unknown as {
        prompt: number[];
        batch: number;
        newTokens: number;
      };
      if (context === undefined || rows !== batch) {
        context = await model.createContext({
          contextSize: 512,
          sequences: batch,
          batchSize: 512,
          threads: Number(threads),
          flashAttention: true,
        });
        sequences = Array.from({ length: batch }, () => context!.getSequence());
        rows = batch;
      }
      const run = async (tokens: number): Promise<number> => {
        for (const sequence of sequences) await sequence.clearHistory();
        const start = performance.now();
        await Promise.all(
          sequences.map(async (sequence, i) => {
            let made = 0;
            const rotated = prompt.map((id) => id + i);
            for await (const _ of sequence.evaluate(rotated, { temperature: 0 })) {
              if (++made === tokens) break;
            }
          }),
        );
        return performance.now() - start;
      };
      const first = await run(1);
      const all = await run(newTokens);
      return { ms: (all - first) / (newTokens - 1), firstMs: first };
    },
  );
}

void main();
