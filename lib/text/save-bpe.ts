import { join } from 'node:path';
import { writeFileAtomic } from '../files';
import { qwen2Pattern, type BpeVocabulary } from './train-bpe';

/**
 * Writes a vocabulary as transformers' `Qwen2Tokenizer` and {@link Tokenizer} read it:
 * tokenizer.json, tokenizer_config.json, vocab.json and merges.txt, each whole or not at all.
 *
 * @param dir folder, made if absent
 * @throws FileError if a file cannot be written
 */
export function saveBpe(dir: string, vocabulary: BpeVocabulary): void {
  const { tokens, merges, specialTokens } = vocabulary;
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const lines = merges.map((pair) => pair.join(' '));
  const added = specialTokens.map((content, i) => ({
    id: tokens.length + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: qwen2Pattern }, behavior: 'Isolated', invert: false },
        { ...byteLevel, use_regex: false },
      ],
    },
    post_processor: { ...byteLevel, use_regex: false },
    decoder: { ...byteLevel, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: lines,
    },
  };
  const config = {
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [id, token])),
    additional_special_tokens: specialTokens.filter((token) => token !== endOfText),
    bos_token: null,
    clean_up_tokenization_spaces: false,
    eos_token: specialTokens.includes(endOfMessage) ? endOfMessage : endOfText,
    errors: 'replace',
    model_max_length: 8192,
    pad_token: endOfText,
    split_special_tokens: false,
    tokenizer_class: 'Qwen2Tokenizer',
    unk_token: null,
  };
  const json = (value: unknown): string => JSON.stringify(value, null, 2) + '\n';
  writeFileAtomic(join(dir, 'vocab.json'), json(vocab));
  writeFileAtomic(join(dir, 'merges.txt'), ['#version: 0.2', ...lines, ''].join('\n'));
  writeFileAtomic(join(dir, 'tokenizer_config.json'), json(config));
  writeFileAtomic(join(dir, 'tokenizer.json'), json(tokenizer));
}

const endOfText = '<|endoftext|>';
const endOfMessage = '<|im_end|>';
