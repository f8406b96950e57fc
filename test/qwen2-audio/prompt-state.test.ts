/** Going on from what a model's first layers made of a prompt. */
import {
  collate,
  encodeAudio,
  generateSequences,
  PromptState,
  type GenerationConfig,
  type Qwen2Audio,
} from '../../lib/qwen2-audio';
import { memory, noGrad, scope } from '../../lib/torch';
import { examples, leftPadded, loadTiny, settle } from './tiny-model';

const maxNewTokens = 6;
let model: Qwen2Audio;
let count: number;
beforeAll(() => {
  model = loadTiny();
  count = model.layers.length;
});
afterAll(() => model.dispose());
beforeEach(settle);

const modes: GenerationConfig[] = [
  {},
  { numBeams: 3, numReturnSequences: 2 },
  { doSample: true, topP: 0.9, numReturnSequences: 2 },
];

test.each(modes)('any depth gives the same tokens: %p', async (mode) => {
  const batch = leftPadded(model);
  const audioFeatures = encodeAudio(model, batch);
  const expected = await generateSequences(model, batch, { maxNewTokens, ...mode });
  const before = memory();
  const promptState = new PromptState(model, batch, audioFeatures, true);
  for (let depth = 0; depth <= count; depth++) {
    promptState.advanceTo(depth);
    expect(promptState.depth).toBe(depth);
    const made = await generateSequences(model, batch, { maxNewTokens, promptState, ...mode });
    expect(made).toEqual(expected);
  }
  promptState.dispose();
  expect(memory()).toEqual(before);
  for (const tensor of [audioFeatures, batch.inputIds, batch.inputFeatures]) tensor.dispose();
});

test('models without a later layer go on from it, to the same loss to the bit', () => {
  const lossOf = (of: Qwen2Audio, promptState?: PromptState): number =>
    scope(() => {
      const rows = examples().map((example) => ({ ...example, labels: example.inputIds }));
      return noGrad(() => of.loss(collate(of, rows, 'right'), { promptState }).loss.item());
    });
  scope(() => {
    const batch = collate(model, examples(), 'right');
    const promptState = new PromptState(model, batch, encodeAudio(model, batch), false);
    const losses = new Set<number>();
    for (let without = 1; without < count; without++) {
      const candidate = model.withLayers([...model.layers.keys()].filter((i) => i !== without));
      promptState.advanceTo(without);
      expect(lossOf(candidate, promptState)).toBe(lossOf(candidate));
      losses.add(lossOf(candidate));
    }
    expect(losses.size).toBe(count - 1);
    promptState.dispose();
  });
});
