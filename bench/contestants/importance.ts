/** The importance search with pare; see ../parts/importance.ts. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { searchLayers } from '../../lib/compress';
import { openCorpus } from '../../lib/data';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { torchVersion } from '../../lib/torch';
import { Features } from '../../lib/train/examples';
import { serve } from './serve';

const [dir, corpusDir, clips, remove] = process.argv.slice(2) as [string, string, string, string];

async function main(): Promise<void> {
  const { model, processor } = await SpeechTranslator.load(dir, { dtype: 'float32' });
  const corpus = await openCorpus(corpusDir);
  const dev = (await corpus.read('dev')).slice(0, Number(clips));
  await serve(
    { versions: `libtorch ${torchVersion()}, Node ${process.versions.node}` },
    async () => {
      const trace = join(corpusDir, '..', 'importance-trace.jsonl');
      rmSync(trace, { force: true });
      const start = performance.now();
      const result = await searchLayers(model, new Features(corpus, processor), dev, ['de'], {
        remove: Number(remove),
        criterion: 'chrf++',
        maxNewTokens: 24,
        batchSize: 40,
        trace,
        fingerprint: 'bench',
      });
      const ms = performance.now() - start;
      const candidates = result.iterations.flatMap((iteration) => iteration.candidates);
      return {
        ms: ms / (candidates.length + 1),
        removed: result.removed,
        scores: candidates.map(({ score }) => score),
      };
    },
  );
}

void main();
