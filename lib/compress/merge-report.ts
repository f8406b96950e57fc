/** What merging an adapter costs and saves, and which form of the model to take. */

/**
 * - `adapter`: the base with the adapter beside it, as it was trained;
 * - `merged`: one set of weights in full precision;
 * - `requantized`: one set of weights, the linear layers in NF4.
 */
export type MergedForm = 'adapter' | 'merged' | 'requantized';

/** What one form of a model with an adapter costs and is worth. */
export interface FormReport {
  form: MergedForm;
  /** Of its weight files, an adapter's included. */
  bytes: number;
  /** Nats per reference token of the dev set; null where it was not measured. */
  loss: number | null;
  /**
   * The share, 0 to 1, of the dev set's tokens that are predicted as the `adapter` form predicts
   * them, each after the reference up to there; null where it was not measured.
   */
  tokenAgreement: number | null;
}

/** Which form to hand over. */
export interface Recommendation {
  form: MergedForm;
  /** A line for people. */
  reason: string;
}

/** What a form may lose and still be recommended. */
export interface RecommendOptions {
  /** Nats per token that a form may lose against the adapter; 0.01, 1 % of perplexity, by default. */
  maxLossIncrease?: number;
  /** The share of tokens that must stay as they were; 0.99 by default. */
  minAgreement?: number;
}

/**
 * The smallest form of those that answer as the adapter does: whose loss and token agreement are
 * within the limits. The adapter itself always is.
 * @returns null if a form was not measured
 */
export function recommendForm(
  forms: readonly FormReport[],
  { maxLossIncrease = 0.01, minAgreement = 0.99 }: RecommendOptions = {},
): Recommendation | null {
  const adapter = forms.find(({ form }) => form === 'adapter');
  if (adapter === undefined || forms.some(({ loss }) => loss === null)) return null;
  const increase = ({ loss }: FormReport): number => loss! - adapter.loss!;
  const isAsGood = (form: FormReport): boolean =>
    increase(form) <= maxLossIncrease && form.tokenAgreement! >= minAgreement;
  const sorted = [...forms].sort((a, b) => a.bytes - b.bytes);
  const best = sorted.find((form) => form === adapter || isAsGood(form))!;
  const number = new Intl.NumberFormat('en');
  const cost = (form: FormReport): string =>
    `${signed(increase(form))} nats a token, ${percent(form.tokenAgreement!)} of tokens the same`;
  const why = (form: FormReport): string => {
    if (form === adapter) return `adapter has ${number.format(form.bytes)} bytes`;
    const size = form.bytes > best.bytes ? `${number.format(form.bytes)} bytes, ` : '';
    return `${form.form} has ${size}${cost(form)}`;
  };
  const itself = best === adapter ? '' : ` (${cost(best)})`;
  const rest = sorted.filter((form) => form !== best).map(why);
  const reason =
    `${number.format(best.bytes)} bytes, the smallest that answers as the adapter does${itself}; ` +
    rest.join('; ');
  return { form: best.form, reason };
}

function signed(nats: number): string {
  return `${nats < 0 ? '-' : '+'}${Math.abs(nats).toFixed(4)}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
