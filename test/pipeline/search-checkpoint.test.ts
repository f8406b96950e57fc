import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { demo } from '../../lib/demo';
import { searchCheckpoint } from '../../lib/pipeline';

test('a criterion that is a function is refused: traces of two could not be told apart', async () => {
  const search = searchCheckpoint(demo.teacher, join(tmpdir(), 'pare-never-written.json'), {
    ...{ corpus: demo.clips, split: 'dev', languages: ['German'] },
    ...{ remove: 1, maxNewTokens: 4, batchSize: 4 },
    // Where there are no types, in a notebook for instance.
    criterion: (() => 1) as never,
  });
  await expect(search).rejects.toThrow(/criterion: takes a name .* compress\.searchLayers/);
});
