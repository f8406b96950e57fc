/** Adapters that do not belong to a Qwen2-Audio, and files that something happened to. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { PareError } from '../../lib/errors';
import { adapterNames, deleteAdapter, loadAdapter, LoraError, LoraLinear } from '../../lib/lora';
import { parseConfig, type Qwen2Audio } from '../../lib/qwen2-audio';
import { Qwen2Audio as Model } from '../../lib/qwen2-audio/model';
import { loadTiny, tinyFolder, vectorsFolder } from '../qwen2-audio/tiny-model';

const from = join(vectorsFolder, 'adapters/everything');
const config = JSON.parse(readFileSync(join(from, 'adapter_config.json'), 'utf8')) as object;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-bad-adapter-'));
  cpSync(from, folder, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The tiny model with another `text_config`. */
function otherBase(change: Record<string, number>): Qwen2Audio {
  const raw = JSON.parse(readFileSync(join(tinyFolder, 'config.json'), 'utf8')) as {
    text_config: Record<string, unknown>;
  };
  const { layer_types: _, ...text } = raw.text_config;
  return new Model(parseConfig({ ...raw, text_config: { ...text, ...change } }));
}

describe('an adapter of another base is refused in one line, and the model stays as it was', () => {
  test.each([
    ['more layers', { num_hidden_layers: 3 }, /unexpected tensor .*layers\.[34].*more layers/],
    [
      'fewer layers',
      { num_hidden_layers: 7 },
      /lora_A\.weight of .*layers\.5.* is missing.*fewer layers/,
    ],
    ['other widths', { intermediate_size: 64 }, /has shape \[48, 3\].* need \[64, 3\].*tiny-model/],
  ])('%s', (_, change, message) => {
    const model = otherBase(change);
    let error: unknown;
    try {
      loadAdapter(from, model);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(LoraError);
    const said = (error as Error).message;
    expect(said).toMatch(message);
    expect(said).toContain(from);
    expect(said).not.toContain('\n');
    expect([...model.namedModules()].some(([, module]) => module instanceof LoraLinear)).toBe(
      false,
    );
  });
});

test.each(['((.*)*)*x', '(\\w+\\.?)+!'])(
  'a pattern without end, %s, is given up',
  (targetModules) => {
    writeFileSync(
      join(folder, 'adapter_config.json'),
      JSON.stringify({ ...config, target_modules: targetModules }),
    );
    using model = loadTiny();
    expect(() => loadAdapter(folder, model)).toThrow(LoraError);
    expect(() => loadAdapter(folder, model)).toThrow(/adapter_config.json: .*takes too long on/);
  },
);

describe('mutated files: a typed error in one line, or an adapter that fits', () => {
  const configPath = (): string => join(folder, 'adapter_config.json');
  const weightsPath = (): string => join(folder, 'adapter_model.safetensors');
  const config = readFileSync(join(from, 'adapter_config.json'));
  const weights = readFileSync(join(from, 'adapter_model.safetensors'));
  const headerEnd = 8 + Number(weights.readBigUInt64LE());
  let model: Qwen2Audio;
  beforeAll(() => (model = loadTiny()));

  function check(): void {
    try {
      loadAdapter(folder, model);
      deleteAdapter(model, 'default');
    } catch (error) {
      expect(error).toBeInstanceOf(PareError);
      expect((error as Error).message).not.toContain('\n');
    }
    expect(adapterNames(model)).toEqual([]);
  }

  const json: fc.Arbitrary<unknown> = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom<unknown>('LORA', 'all-linear', '(', ['q_proj'], 1e9, -1, 0.5, 'pissa', {}, []),
  );

  test('a key of the configuration', () => {
    writeFileSync(weightsPath(), weights);
    const raw = JSON.parse(config.toString()) as Record<string, unknown>;
    const key = fc.constantFrom(...Object.keys(raw), 'some_new_option');
    fc.assert(
      fc.property(key, json, (name, value) => {
        writeFileSync(configPath(), JSON.stringify({ ...raw, [name]: value }));
        check();
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  test('bytes of the configuration and of the header', () => {
    const change = (original: Buffer, end: number, path: string): void =>
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.nat(end - 1), fc.integer({ min: 0, max: 255 })), {
            minLength: 1,
            maxLength: 4,
          }),
          fc.option(fc.nat(end - 1), { freq: 8 }),
          (bytes, cut) => {
            const mutated = Buffer.from(original);
            for (const [at, byte] of bytes) mutated[at] = byte;
            writeFileSync(path, mutated.subarray(0, cut ?? original.length));
            check();
          },
        ),
        { seed: 6, numRuns: 300 },
      );
    writeFileSync(weightsPath(), weights);
    change(config, config.length, configPath());
    writeFileSync(configPath(), config);
    change(weights, headerEnd, weightsPath());
  });
});
