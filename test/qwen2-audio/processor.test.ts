import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AudioError, FeatureConfigError } from '../../lib/audio';
import { FileError } from '../../lib/files';
import { parseConfig, type Qwen2AudioConfig } from '../../lib/qwen2-audio/config';
import { audioTokenCount } from '../../lib/qwen2-audio/lengths';
import {
  AudioTooLongError,
  AudioTooShortError,
  Processor,
  ProcessorError,
  translationInstruction,
} from '../../lib/qwen2-audio/processor';
import { ChatTemplate, Tokenizer, TokenizerError } from '../../lib/text';
import { sixteenBit } from '../audio/sixteen-bit';

const folder = join(__dirname, '../oracle/vectors/processor');

interface PromptVector {
  seconds: number;
  system?: string;
  instruction: string;
  target?: string;
  text: string;
  inputIds: number[];
  frames: number;
  labels?: number[];
}

const { prompts } = JSON.parse(readFileSync(join(folder, 'vectors.json'), 'utf8')) as {
  prompts: PromptVector[];
};
const clip = (seconds: number): Float32Array =>
  sixteenBit(join(folder, `audio-${seconds.toFixed(2).replace(/0$/, '')}.i16`));

describe('Processor against Qwen2AudioProcessor', () => {
  const processor = Processor.fromPretrained(join(folder, 'tokenizer'));

  test.each(prompts)('$seconds s, $instruction, $target', (vector) => {
    const { seconds, inputIds, labels, frames, text: _, ...prompt } = vector;
    const example = processor.process({ ...prompt, audio: clip(seconds) });
    expect(example.inputIds).toEqual(inputIds);
    expect(example.labels).toEqual(labels);
    expect(example.mel.frames).toBe(frames);
    expect(example.audioTokens).toBe(inputIds.filter((id) => id === processor.audioTokenId).length);
  });

  test.each([
    [3000, 750],
    [2999, 750],
    [2998, 749],
    [100, 25],
    [4, 1],
    [3, 1],
    [2, 0],
  ])('%i frames make %i audio tokens', (frames, tokens) => {
    expect(audioTokenCount(frames)).toBe(tokens);
  });
});

describe('Processor', () => {
  const tokenizer = Tokenizer.fromPretrained(join(folder, 'tokenizer'));
  const processor = new Processor({ tokenizer, maxSourcePositions: 100 });
  const instruction = translationInstruction('German');

  test('asks as the paper does', () => {
    expect(instruction).toBe('Translate the English speech into German:');
    const { inputIds, labels } = processor.tokenize({ instruction }, 1);
    expect(labels).toBeUndefined();
    expect(tokenizer.decode(inputIds, { skipSpecialTokens: false })).toBe(
      '<|im_start|>system\nYou are a professional translator.<|im_end|>\n' +
        '<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n' +
        'Translate the English speech into German:<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  test('labels the answer and its end, and nothing else', () => {
    const { inputIds, labels } = processor.tokenize({ instruction, target: 'März' }, 3);
    const learned = labels!.filter((label) => label !== -100);
    expect(tokenizer.decode(learned, { skipSpecialTokens: false })).toBe('März<|im_end|>');
    labels!.forEach((label, i) => expect([-100, inputIds[i]]).toContain(label));
  });

  test('takes a full window and refuses one sample more, in seconds', () => {
    expect(processor.logMel(new Float32Array(32000).fill(0.1)).frames).toBe(200);
    const long = new Float32Array(32001).fill(0.1);
    expect(() => processor.process({ audio: long, instruction })).toThrow(AudioTooLongError);
    expect(() => processor.logMel(new Float32Array(56000))).toThrow(
      'the audio has 3.5 s and the model takes at most 2 s',
    );
  });

  test('refuses audio of which no token is left', () => {
    for (const length of [0, 1, 320]) {
      expect(() => processor.logMel(new Float32Array(length))).toThrow(AudioTooShortError);
    }
    expect(processor.process({ audio: new Float32Array(321), instruction }).audioTokens).toBe(1);
    expect(() => processor.logMel(new Float32Array(500).fill(NaN))).toThrow(AudioError);
  });

  test('refuses texts and templates that confuse the place of the audio', () => {
    expect(() => processor.tokenize({ instruction: 'say <|AUDIO|>' }, 1)).toThrow(ProcessorError);
    expect(() => processor.tokenize({ instruction, target: '<|AUDIO|>' }, 1)).toThrow(
      ProcessorError,
    );
    const deaf = new Processor({ tokenizer, chatTemplate: new ChatTemplate('{{ messages }}') });
    expect(() => deaf.tokenize({ instruction }, 1)).toThrow('has no place for the audio');
  });
});

test('a language is asked for by its English name, however it is given', () => {
  const german = 'Translate the English speech into German:';
  for (const name of ['German', 'german', ' de', 'DE']) {
    expect(translationInstruction(name)).toBe(german);
  }
  expect(translationInstruction('zh-CN')).toBe('Translate the English speech into Chinese:');
  for (const name of ['Klingon', '', 'qq']) {
    expect(() => translationInstruction(name)).toThrow(ProcessorError);
  }
});

test('audio too long by a sample is not told as long as the window', () => {
  const processor = new Processor({
    tokenizer: Tokenizer.fromPretrained(join(folder, 'tokenizer')),
    maxSourcePositions: 150,
  });
  expect(() => processor.logMel(new Float32Array(48_001))).toThrow(
    'the audio has 3.001 s and the model takes at most 3 s; cut it',
  );
});

describe('a processor folder', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-processor-'));
    cpSync(join(folder, 'tokenizer'), dir, { recursive: true });
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test('is written and read again, with its window', () => {
    const tokenizer = Tokenizer.fromPretrained(dir);
    const saved = join(dir, 'saved');
    new Processor({ tokenizer, maxSourcePositions: 250, nMels: 80 }).save(saved);
    const read = Processor.fromPretrained(saved);
    expect(read.maxSourcePositions).toBe(250);
    expect(read.nMels).toBe(80);
    const prompt = { instruction: 'What?', target: 'Dienstag' };
    const ids = Processor.fromPretrained(dir).tokenize(prompt, 5);
    expect(read.tokenize(prompt, 5)).toEqual(ids);
  });

  /** config.json of a model that the saved processor fits, with some values changed. */
  function configWith(
    processor: Processor,
    audio: object = {},
    top: object = {},
  ): Qwen2AudioConfig {
    const { audioTokenId, tokenizer, nMels } = processor;
    return parseConfig({
      model_type: 'qwen2_audio',
      audio_token_index: audioTokenId,
      audio_config: { max_source_positions: 100, num_mel_bins: nMels, ...audio },
      text_config: { vocab_size: tokenizer.vocabSize },
      ...top,
    });
  }

  test('has the window of its model', () => {
    const config = configWith(Processor.fromPretrained(dir));
    expect(Processor.fromPretrained(dir, config).windowFrames).toBe(200);
  });

  test.each([
    [
      { num_mel_bins: 80 },
      {},
      'preprocessor_config.json has 128 mel bins, config.json asks for 80',
    ],
    [{}, { audio_token_index: 7 }, 'config.json asks for 7 (audio_token_index); the two are not'],
    [{}, { text_config: { vocab_size: 8 } }, 'tokens, config.json asks for at most 8 (vocab_size)'],
  ])('that does not fit its model (%p, %p) is refused by name', (audio, top, message) => {
    const config = configWith(Processor.fromPretrained(dir), audio, top);
    expect(() => Processor.fromPretrained(dir, config)).toThrow(ProcessorError);
    expect(() => Processor.fromPretrained(dir, config)).toThrow(dir);
    expect(() => Processor.fromPretrained(dir, config)).toThrow(message);
  });

  test('cannot hold a window that transformers has no words for', () => {
    const tokenizer = Tokenizer.fromPretrained(dir);
    const odd = new Processor({ tokenizer, maxSourcePositions: 75 });
    expect(() => odd.save(join(dir, 'saved'))).toThrow(FeatureConfigError);
  });

  test.each([
    ['preprocessor_config.json', '{', FeatureConfigError],
    ['preprocessor_config.json', '{"sampling_rate": 8000}', FeatureConfigError],
    ['preprocessor_config.json', '{"feature_size": "many"}', FeatureConfigError],
    ['chat_template.jinja', '{% if %}', TokenizerError],
  ])('with a damaged %s (%s) is refused by its name', (file, content, error) => {
    writeFileSync(join(dir, file), content);
    expect(() => Processor.fromPretrained(dir)).toThrow(error);
    expect(() => Processor.fromPretrained(dir)).toThrow(join(dir, file));
  });

  test.each([
    ['{{ messages[0].content }}', ProcessorError, 'has no place for the audio'],
    ['{{ raise_exception("no") }}', TokenizerError, 'does not take these messages'],
  ])('whose template cannot be used (%s) is refused when it is read', (template, error, said) => {
    writeFileSync(join(dir, 'chat_template.jinja'), template);
    expect(() => Processor.fromPretrained(dir)).toThrow(error);
    expect(() => Processor.fromPretrained(dir)).toThrow(`${dir}: the chat template ${said}`);
  });

  test('without a configuration is refused, and so is a tokenizer without audio', () => {
    rmSync(join(dir, 'processor_config.json'));
    expect(() => Processor.fromPretrained(dir)).toThrow(FileError);
    const json = join(dir, 'tokenizer.json');
    writeFileSync(json, readFileSync(json, 'utf8').replaceAll('<|AUDIO|>', '<|NOISE|>'));
    const tokenizer = Tokenizer.fromPretrained(dir);
    expect(() => new Processor({ tokenizer })).toThrow(ProcessorError);
  });

  test('takes its template from the first file that has one', () => {
    rmSync(join(dir, 'chat_template.jinja'));
    const template = (file: string, text: string): void =>
      writeFileSync(join(dir, file), JSON.stringify({ chat_template: text }));
    template('tokenizer_config.json', 'a text-only one');
    expect(ChatTemplate.fromPretrained(dir).source).toBe(new ChatTemplate().source);
    template('tokenizer_config.json', 'tokenizer <|AUDIO|>');
    expect(ChatTemplate.fromPretrained(dir).source).toBe('tokenizer <|AUDIO|>');
    template('chat_template.json', 'json');
    expect(ChatTemplate.fromPretrained(dir).source).toBe('json');
    writeFileSync(join(dir, 'chat_template.jinja'), 'jinja');
    expect(ChatTemplate.fromPretrained(dir).source).toBe('jinja');
  });
});
