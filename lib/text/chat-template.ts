import { Template } from '@huggingface/jinja';
import { damaged, readOptional, readOptionalJson, TokenizerError } from './pretrained-file';
import { patienceSeconds, withinSeconds } from './time-limit';

/** A part of a message: a text, or the place of an audio. */
export type ChatContent = { type: 'text'; text: string } | { type: 'audio' };

/** A message of a conversation. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string | ChatContent[];
}

/** Options of {@link ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the beginning of the assistant's next message. */
  addGenerationPrompt?: boolean;
}

/** The template of Qwen2-Audio's processor, `default_chat_template` in transformers. */
export const qwen2AudioChatTemplate: string =
  '{% set audio_count = namespace(value=0) %}' +
  '{% for message in messages %}' +
  "{% if loop.first and message['role'] != 'system' %}" +
  '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' +
  '{% endif %}' +
  "<|im_start|>{{ message['role'] }}\n" +
  "{% if message['content'] is string %}" +
  "{{ message['content'] }}<|im_end|>\n" +
  '{% else %}' +
  "{% for content in message['content'] %}" +
  "{% if 'audio' in content or 'audio_url' in content or message['type'] == 'audio' or content['type'] == 'audio' %}" +
  '{% set audio_count.value = audio_count.value + 1 %}' +
  'Audio {{ audio_count.value }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n' +
  "{% elif 'text' in content %}" +
  "{{ content['text'] }}" +
  '{% endif %}' +
  '{% endfor %}' +
  '<|im_end|>\n' +
  '{% endif %}' +
  '{% endfor %}' +
  '{% if add_generation_prompt %}' +
  '<|im_start|>assistant\n' +
  '{% endif %}';

/** A Jinja template that turns a conversation into the model's text. */
export class ChatTemplate {
  /** The template's text. */
  readonly source: string;
  private readonly template: Template;

  /** @throws TokenizerError if the template is no valid Jinja */
  constructor(source: string = qwen2AudioChatTemplate) {
    this.source = source;
    try {
      this.template = new Template(source);
      // The library lets no variable replace its own, but an assignment in the template may.
      this.template.parsed.body.unshift(...new Template(boundedRange).parsed.body);
    } catch (cause) {
      throw new TokenizerError(
        `the chat template is no valid Jinja (${(cause as Error).message}); correct it`,
        { cause },
      );
    }
  }

  /**
   * The template of a checkpoint: chat_template.jinja, chat_template.json, processor_config.json or
   * tokenizer_config.json, in this order; Qwen2-Audio's own if there is none. What
   * tokenizer_config.json has counts only if it knows where an audio goes, since there it may be
   * the text-only template of the language model.
   *
   * @throws TokenizerError if a file is damaged
   */
  static fromPretrained(dir: string): ChatTemplate {
    let file = 'chat_template.jinja';
    let source = readOptional(dir, file);
    for (const name of ['chat_template.json', 'processor_config.json', 'tokenizer_config.json']) {
      if (source !== undefined) break;
      const value = readOptionalJson(dir, name)?.['chat_template'];
      if (typeof value !== 'string') continue;
      if (name === 'tokenizer_config.json' && !value.includes('<|AUDIO|>')) continue;
      [file, source] = [name, value];
    }
    try {
      return new ChatTemplate(source);
    } catch (cause) {
      throw damaged(dir, file, (cause as Error).message, cause);
    }
  }

  /**
   * `apply_chat_template(messages, tokenize=False)` of transformers.
   * @throws TokenizerError if the template refuses the messages, or does not come to an end
   */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    try {
      const variables = {
        messages,
        add_generation_prompt: options.addGenerationPrompt ?? false,
        bounded_range: range,
      };
      return withinSeconds(patienceSeconds, () => this.template.render(variables));
    } catch (cause) {
      throw new TokenizerError(
        `the chat template does not take these messages (${(cause as Error).message})`,
        { cause },
      );
    }
  }
}

const boundedRange = '{% set range = bounded_range %}';

/** Numbers at most of Jinja's `range`, which makes them all before the first is used. */
const mostNumbers = 100_000;

/** Jinja's `range`, in the place of one that takes all memory there is if it is asked to. */
function range(start: number, stop?: number, step: number = 1): number[] {
  const [first, end] = stop === undefined ? [0, start] : [start, stop];
  const count = Math.max(0, Math.ceil((end - first) / step));
  if (!(count <= mostNumbers)) throw new Error(`range() of more than ${mostNumbers} numbers`);
  return Array.from({ length: count }, (_, i) => first + i * step);
}
