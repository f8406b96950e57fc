export { TokenizerError } from './pretrained-file';
export { TextStream } from './text-stream';
export { Tokenizer, type DecodeOptions } from './tokenizer';
export {
  ChatTemplate,
  qwen2AudioChatTemplate,
  type ChatContent,
  type ChatMessage,
  type RenderOptions,
} from './chat-template';
export {
  BpeTrainingError,
  qwen2AudioSpecialTokens,
  trainByteLevelBpe,
  type BpeOptions,
  type BpeVocabulary,
} from './train-bpe';
export { saveBpe } from './save-bpe';
export { syntheticVocabulary } from './synthetic-vocabulary';
export { findLanguage, findTarget, type Language } from './languages';
export { dropRepeated, joinTexts } from './join';
export { toSrt, toVtt, type SubtitleOptions, type TimedText } from './subtitles';
