import { join } from 'node:path';
import { AudioError, logMel, readFeatureConfig, writeFeatureConfig, type LogMel } from '../audio';
import { named, PareError } from '../errors';
import { writeFileAtomic } from '../files';
import { ChatTemplate, findLanguage, Tokenizer, type ChatMessage } from '../text';
import type { Qwen2AudioConfig } from './config';
import { audioTokenCount } from './lengths';

/** A conversation or tokenizer that Qwen2-Audio's processor cannot use. */
export class ProcessorError extends PareError {}

/** Audio that the encoder's window does not hold. */
export class AudioTooLongError extends AudioError {}

/** Audio of which no audio token is left. */
export class AudioTooShortError extends AudioError {}

/** The system prompt of the paper's translation prompt. */
export const translatorSystemPrompt = 'You are a professional translator.';

const audioToken = '<|AUDIO|>';
const endOfMessage = '<|im_end|>';
const samplingRate = 16000;
const hopLength = 160;

/**
 * The paper's instruction, for example `translationInstruction('German')`.
 * @param language English name or two-letter code, in any case
 * @throws ProcessorError for a language that nobody knows
 */
export function translationInstruction(language: string): string {
  const known = findLanguage(language);
  if (known !== undefined) return `Translate the English speech into ${known.name}:`;
  throw new ProcessorError(
    `no language is called ${JSON.stringify(language)}; give its English name or two-letter code, ` +
      'such as German or de, or an instruction in your own words',
  );
}

/** What a {@link Processor} consists of. */
export interface ProcessorParts {
  tokenizer: Tokenizer;
  chatTemplate?: ChatTemplate;
  /** Positions of the audio encoder; the window has twice as many frames. 1500 if absent. */
  maxSourcePositions?: number;
  /** Mel bins; 128 if absent. */
  nMels?: number;
}

/** The text around an audio. */
export interface Prompt {
  /** {@link translatorSystemPrompt} if absent. */
  system?: string;
  /** For example {@link translationInstruction}. */
  instruction: string;
  /** The assistant's answer, in training. */
  target?: string;
}

/** Token ids of a conversation with an audio. */
export interface TokenizedPrompt {
  inputIds: number[];
  /** With a target: the ids of the answer and `<|im_end|>` at their places, -100 elsewhere. */
  labels?: number[];
}

/** The model's input. */
export interface ProcessedExample extends TokenizedPrompt {
  mel: LogMel;
  /** How many of `inputIds` are `<|AUDIO|>`. */
  audioTokens: number;
}

/** From audio and text to the model's input: `Qwen2AudioProcessor` of transformers. */
export class Processor {
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate;
  readonly maxSourcePositions: number;
  readonly nMels: number;
  /** Id of `<|AUDIO|>`, the model's `audio_token_index`. */
  readonly audioTokenId: number;
  private readonly endOfMessageId: number;

  /** @throws ProcessorError if the tokenizer lacks a special token of Qwen2-Audio */
  constructor(parts: ProcessorParts) {
    this.tokenizer = parts.tokenizer;
    this.chatTemplate = parts.chatTemplate ?? new ChatTemplate();
    this.maxSourcePositions = parts.maxSourcePositions ?? 1500;
    this.nMels = parts.nMels ?? 128;
    this.audioTokenId = this.specialToken(audioToken);
    this.endOfMessageId = this.specialToken(endOfMessage);
  }

  /**
   * Reads a checkpoint's preprocessor_config.json, tokenizer and chat template.
   *
   * @param config of the model that is to understand it; its window counts. Without one, what
   *   preprocessor_config.json says
   * @throws FileError, FeatureConfigError, TokenizerError, ProcessorError if a file is missing,
   *   damaged, of another kind of model, or does not fit `config`
   */
  static fromPretrained(dir: string, config?: Qwen2AudioConfig): Processor {
    const { nMels, windowSamples } = readFeatureConfig(dir);
    const processor = new Processor({
      tokenizer: Tokenizer.fromPretrained(dir),
      chatTemplate: ChatTemplate.fromPretrained(dir),
      maxSourcePositions: config?.audio.maxSourcePositions ?? windowSamples / hopLength / 2,
      nMels,
    });
    if (config !== undefined) processor.#checkAgainst(dir, config);
    try {
      // What template and tokenizer cannot do is known now, not with the first recording.
      processor.tokenize({ instruction: translationInstruction('German') }, 1);
    } catch (error) {
      throw named(dir, error);
    }
    return processor;
  }

  #checkAgainst(dir: string, { audio, text, audioTokenIndex }: Qwen2AudioConfig): void {
    const refuse = (file: string, has: string, wants: string): never => {
      throw new ProcessorError(
        `${join(dir, file)} has ${has}, config.json asks for ${wants}; ` +
          'the two are not of one checkpoint',
      );
    };
    if (this.nMels !== audio.numMelBins) {
      refuse('preprocessor_config.json', `${this.nMels} mel bins`, String(audio.numMelBins));
    }
    if (this.audioTokenId !== audioTokenIndex) {
      const wanted = `${audioTokenIndex} (audio_token_index)`;
      refuse('tokenizer.json', `${audioToken} with the id ${this.audioTokenId}`, wanted);
    }
    if (this.tokenizer.vocabSize > text.vocabSize) {
      const wanted = `at most ${text.vocabSize} (vocab_size)`;
      refuse('tokenizer.json', `${this.tokenizer.vocabSize} tokens`, wanted);
    }
  }

  /** Mel frames of the encoder's window. */
  get windowFrames(): number {
    return 2 * this.maxSourcePositions;
  }

  /**
   * The model's input for one utterance, with or without the answer.
   *
   * @param example.audio mono, 16 kHz, [-1, 1]
   * @throws AudioTooLongError, AudioTooShortError, AudioError, ProcessorError
   */
  process(example: Prompt & { audio: Float32Array }): ProcessedExample {
    const mel = this.logMel(example.audio);
    const audioTokens = audioTokenCount(mel.frames);
    return { ...this.tokenize(example, audioTokens), mel, audioTokens };
  }

  /**
   * The log-mel features of an utterance.
   *
   * @param audio mono, 16 kHz, [-1, 1]
   * @throws AudioTooLongError, AudioTooShortError, AudioError
   */
  logMel(audio: Float32Array): LogMel {
    const windowSamples = this.windowFrames * hopLength;
    if (audio.length > windowSamples) {
      throw new AudioTooLongError(
        `the audio has ${seconds(audio.length)} s and the model takes at most ${seconds(windowSamples)} s; ` +
          'cut it into shorter pieces',
      );
    }
    if (audioTokenCount(Math.ceil(audio.length / hopLength)) < 1) {
      throw new AudioTooShortError(
        `the audio has ${seconds(audio.length)} s, too little for one audio token; leave it out (more than 0.02 s are needed)`,
      );
    }
    return logMel(audio, { nMels: this.nMels, windowSamples });
  }

  /**
   * Token ids of the conversation, with the audio's place repeated `audioTokens` times.
   * @throws ProcessorError if a text contains `<|AUDIO|>` itself
   */
  tokenize(prompt: Prompt, audioTokens: number): TokenizedPrompt {
    const { system = translatorSystemPrompt, instruction, target } = prompt;
    const messages: ChatMessage[] = [
      { role: 'system', content: system },
      { role: 'user', content: [{ type: 'audio' }, { type: 'text', text: instruction }] },
    ];
    const question = this.encode(messages, true, audioTokens);
    if (target === undefined) return { inputIds: question };
    const whole: ChatMessage[] = [...messages, { role: 'assistant', content: target }];
    const inputIds = this.encode(whole, false, audioTokens);
    // A target that begins with white space can change the last token before it; the answer begins
    // where the two differ.
    let start = 0;
    while (start < question.length && inputIds[start] === question[start]) start++;
    const end = inputIds.lastIndexOf(this.endOfMessageId);
    const labels = inputIds.map((id, i) => (i >= start && i <= end ? id : -100));
    return { inputIds, labels };
  }

  /**
   * Writes preprocessor_config.json, the tokenizer's files and chat_template.jinja, such that
   * transformers' `AutoProcessor` loads the folder.
   * @throws FileError if a file cannot be written; FeatureConfigError if the window is not a whole
   *   number of seconds, which transformers cannot express
   */
  save(dir: string): void {
    writeFeatureConfig(dir, { nMels: this.nMels, windowSamples: this.windowFrames * hopLength });
    this.tokenizer.save(dir);
    writeFileAtomic(join(dir, 'chat_template.jinja'), this.chatTemplate.source);
  }

  private encode(messages: ChatMessage[], addGenerationPrompt: boolean, count: number): number[] {
    const text = this.chatTemplate.render(messages, { addGenerationPrompt });
    const [before, after, ...more] = text.split(audioToken);
    if (after === undefined || more.length > 0) {
      throw new ProcessorError(
        after === undefined
          ? `the chat template has no place for the audio; it needs ${audioToken}`
          : `a prompt or target contains ${audioToken}; remove it from the text`,
      );
    }
    return this.tokenizer.encode(before + audioToken.repeat(count) + after);
  }

  private specialToken(token: string): number {
    const id = this.tokenizer.tokenToId(token);
    if (id !== undefined) return id;
    throw new ProcessorError(
      `the tokenizer in ${this.tokenizer.dir} has no ${token}; use one of a Qwen2-Audio checkpoint`,
    );
  }
}

/** Rounded up to a millisecond, so that what is too long by a sample does not look as if it fitted. */
function seconds(samples: number): string {
  return String(Math.ceil((samples / samplingRate) * 1000) / 1000);
}
