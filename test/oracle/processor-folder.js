/**
 * Writes a processor folder with a freshly trained vocabulary, and expected.json with the ids that
 * `pare` gives, for `processor.py check DIR`:
 *
 *     npm run build:ts
 *     node test/oracle/processor-folder.js DIR
 *     python test/oracle/processor.py check DIR
 */
const { readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { Processor } = require('../../dist/qwen2-audio/processor');
const { saveBpe, Tokenizer, trainByteLevelBpe } = require('../../dist/text');

const dir = process.argv[2];
const vectors = JSON.parse(readFileSync(join(__dirname, 'vectors/processor/vectors.json'), 'utf8'));

saveBpe(dir, trainByteLevelBpe(vectors.corpus, { vocabSize: 400 }));
const tokenizer = Tokenizer.fromPretrained(dir);
const processor = new Processor({ tokenizer, maxSourcePositions: 250 });
processor.save(dir);
const texts = vectors.texts.map(({ text }) => ({ text, ids: tokenizer.encode(text) }));
const prompts = vectors.prompts.map(({ seconds, system, instruction, target }) => {
  const audio = new Float32Array(Math.round(seconds * 16000)).fill(0.01);
  const prompt = { seconds, system, instruction, target };
  return { prompt, inputIds: processor.process({ ...prompt, audio }).inputIds };
});
writeFileSync(join(dir, 'expected.json'), JSON.stringify({ texts, prompts }));
