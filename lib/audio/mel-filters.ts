/** One triangular filter: weights of the frequency bins `start`, `start + 1`, … */
export interface MelFilter {
  start: number;
  weights: Float64Array;
}

/**
 * Slaney's mel filter bank with Slaney's area normalisation, kept sparse: `mel_filter_bank(…,
 * norm="slaney", mel_scale="slaney")` of transformers' `audio_utils`.
 *
 * @param nMels number of filters
 * @param bins number of frequency bins, from 0 Hz to half of `sampleRate`
 */
export function melFilterBank(nMels: number, bins: number, sampleRate: number): MelFilter[] {
  const top = sampleRate / 2;
  const edges = Float64Array.from({ length: nMels + 2 }, (_, i) =>
    melToHertz((hertzToMel(top) * i) / (nMels + 1)),
  );
  return Array.from({ length: nMels }, (_, mel) => {
    const [left, centre, right] = [edges[mel]!, edges[mel + 1]!, edges[mel + 2]!];
    const dense = Float64Array.from({ length: bins }, (_, bin) => {
      const hertz = (top * bin) / (bins - 1);
      const rise = (hertz - left) / (centre - left);
      const fall = (right - hertz) / (right - centre);
      return (Math.max(0, Math.min(rise, fall)) * 2) / (right - left);
    });
    const start = Math.max(
      0,
      dense.findIndex((weight) => weight > 0),
    );
    let end = bins;
    while (end > start && dense[end - 1] === 0) end--;
    return { start, weights: dense.slice(start, end) };
  });
}

const linearHertz = 1000;
const linearMels = 15;
const logStep = 27 / Math.log(6.4);

function hertzToMel(hertz: number): number {
  if (hertz < linearHertz) return (3 * hertz) / 200;
  return linearMels + Math.log(hertz / linearHertz) * logStep;
}

function melToHertz(mels: number): number {
  if (mels < linearMels) return (200 * mels) / 3;
  return linearHertz * Math.exp((mels - linearMels) / logStep);
}
