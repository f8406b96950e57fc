import { axes, px, type Axis, type Frame } from './axes';
import type { Chart } from './chart';
import { fixed, integer } from './format';
import { html, type Markup } from './markup';
import { linear, nice } from './scale';
import type { CurvePoint, LossKind, TrainingCurve } from './types';

/** Neighbouring steps are drawn as one, so that a log of any length stays a small file. */
const maxPoints = 240;

/** The losses as the legend names them and as the text above the figures explains them. */
export const lossLabels: Readonly<Record<LossKind, { label: string; meaning: string }>> = {
  translation: { label: 'translation', meaning: 'cross-entropy per target token' },
  ctc: {
    label: 'CTC',
    meaning:
      'per transcript token, before its weight in what is minimised; of a head on the encoder ' +
      'that is dropped after training',
  },
  loss: { label: 'loss', meaning: 'what is minimised, as one number' },
};

function mergeAll(points: readonly CurvePoint[]): CurvePoint {
  const steps = points.reduce((sum, point) => sum + point.steps, 0);
  const mean = (of: (point: CurvePoint) => number): number =>
    points.reduce((sum, point) => sum + of(point) * point.steps, 0) / steps;
  return {
    step: mean(({ step }) => step),
    steps,
    mean: mean((point) => point.mean),
    low: Math.min(...points.map(({ low }) => low)),
    high: Math.max(...points.map(({ high }) => high)),
  };
}

/** At most `limit` points, as many neighbours in each; every step behind them is in its bounds. */
export function mergePoints(
  points: readonly CurvePoint[],
  limit: number = maxPoints,
): readonly CurvePoint[] {
  const size = Math.ceil(points.length / limit);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) =>
    mergeAll(points.slice(i * size, (i + 1) * size)),
  );
}

function drawable(points: readonly CurvePoint[]): readonly CurvePoint[] {
  return mergePoints(
    points.filter(({ step, mean, low, high }) => [step, mean, low, high].every(Number.isFinite)),
  );
}

const width = 520;
const frame: Frame = { left: 50, right: width - 12, top: 14, bottom: 196 };
const rateFrame: Frame = { left: 50, right: width - 12, top: 220, bottom: 258 };

/** `1e-5` rather than `0.00001`. */
function rate(value: number): string {
  return value === 0 ? '0' : value.toExponential().replace('e+', 'e');
}

function line(points: readonly (readonly [number, number])[]): string {
  return points.map(([x, y], i) => `${i ? 'L' : 'M'}${px(x)} ${px(y)}`).join('');
}

interface LossAxis extends Axis {
  /** Pixels of a loss. */
  readonly y: (loss: number) => number;
  readonly logarithmic: boolean;
}

/** Series of different size share an axis of decades: on another, one would lie on the ground. */
function lossAxis(lowest: number, highest: number, series: number): LossAxis {
  if (series > 1 && lowest > 0 && highest > 100 * lowest) {
    const [low, high] = [Math.floor(Math.log10(lowest)), Math.ceil(Math.log10(highest))];
    const scale = linear(low, high, frame.bottom, frame.top);
    return {
      scale,
      count: high - low,
      format: (value) => String(Number(`1e${value}`)),
      y: (loss) => scale(Math.log10(loss)),
      logarithmic: true,
    };
  }
  // Losses have a meaningful zero; leave it out only where it would flatten the curve.
  const [low, high] = nice(lowest < highest * 0.4 ? 0 : lowest, highest, 5);
  const y = linear(low, high, frame.bottom, frame.top);
  return { scale: y, count: 5, format: String, y, logarithmic: false };
}

/** Losses against step, the dev loss over them, the learning rate below; null where there is none. */
export function trainingChart(curve: TrainingCurve, id: string): Chart | null {
  const losses = curve.losses
    .map(({ kind, points }) => ({ kind, label: lossLabels[kind].label, points: drawable(points) }))
    .filter(({ points }) => points.length > 0);
  const validation = curve.validation.filter(({ loss }) => Number.isFinite(loss));
  const drawn = losses.flatMap(({ points }) => points);
  if (drawn.length + validation.length === 0) return null;
  const values = [
    ...drawn.flatMap(({ low, high }) => [low, high]),
    ...validation.map(({ loss }) => loss),
  ];
  const axis = lossAxis(Math.min(...values), Math.max(...values), losses.length);
  const steps = [...drawn, ...validation].map(({ step }) => step);
  const x = linear(Math.min(...steps), Math.max(...steps), frame.left, frame.right);
  const at = (step: number, loss: number): [number, number] => [x(step), axis.y(loss)];
  const rates = drawable(curve.learningRate);
  const bottom = rates.length > 1 ? rateFrame : frame;
  const size = bottom.bottom + 42;
  // No ticks between two steps: they would bear the same number twice.
  const xAxis = { scale: x, count: Math.min(6, x.high - x.low), format: integer };
  const lastDev = validation.at(-1);
  const merged = Math.max(1, ...drawn.map((point) => point.steps));
  const count = `${integer(curve.steps)} logged steps`;
  const shown = merged > 1 ? `${count}, at most ${integer(merged)} to a point` : count;
  const course = [
    ...losses.map(
      ({ label, points }) =>
        `${label} ${fixed(points[0]?.mean, 2)} to ${fixed(points.at(-1)?.mean, 3)}`,
    ),
    ...(lastDev ? [`dev loss ${fixed(lastDev.loss, 3)}`] : []),
  ].join(', ');

  const svg = html`<svg
    class="chart"
    role="img"
    aria-labelledby="${id}-title ${id}-desc"
    viewBox="0 0 ${width} ${size}"
  >
    <title id="${id}-title">Training loss, ${curve.stage}</title>
    <desc id="${id}-desc">${shown}; from the first point to the last: ${course}.</desc>
    ${axes(frame, rates.length > 1 ? null : xAxis, axis)}
    ${losses.map(({ kind, points }) => ribbon(kind, points, at))}
    ${losses.map(
      ({ kind, points }) =>
        html`<path
          class="curve ${seriesClass(kind)}"
          d="${line(points.map((point) => at(point.step, point.mean)))}"
        />`,
    )}
    <path class="curve dev" d="${line(validation.map((v) => at(v.step, v.loss)))}" />
    ${validation.map(
      (v) =>
        html`<circle class="curve-point" cx="${px(x(v.step))}" cy="${px(axis.y(v.loss))}" r="3.2"
          ><title>step ${integer(v.step)}: dev loss ${fixed(v.loss, 4)}</title></circle
        >`,
    )}
    ${legend([
      ...losses.map(({ kind, label }) => ({ name: seriesClass(kind), label })),
      ...(validation.length > 0 ? [{ name: 'dev', label: 'dev loss' }] : []),
    ])}
    ${rates.length > 1 && ratePanel(rates, x, xAxis)}
    ${
      axis.logarithmic &&
      html`<text class="axis-name" x="${frame.left}" y="${size - 6}"
        >loss on a logarithmic scale</text
      >`
    }
    <text class="axis-name end" x="${frame.right}" y="${size - 6}">step</text>
  </svg>`;
  return { svg, width, height: size, title: curve.stage, note: `${course}; ${shown}` };
}

function seriesClass(kind: LossKind): string {
  return kind === 'ctc' ? 'ctc' : 'train';
}

/** From the lowest to the highest of the steps behind each point; null where a point is one step. */
function ribbon(
  kind: LossKind,
  points: readonly CurvePoint[],
  at: (step: number, loss: number) => [number, number],
): Markup | null {
  if (points.every(({ steps }) => steps === 1)) return null;
  const outline = [
    ...points.map(({ step, high }) => at(step, high)),
    ...[...points].reverse().map(({ step, low }) => at(step, low)),
  ];
  return html`<path class="ribbon ${seriesClass(kind)}" d="${line(outline)}Z" />`;
}

function ratePanel(rates: readonly CurvePoint[], x: (step: number) => number, xAxis: Axis): Markup {
  const peak = rates.reduce((highest, { high }) => Math.max(highest, high), 0);
  const y = linear(0, peak || 1, rateFrame.bottom, rateFrame.top);
  return html`${axes(rateFrame, xAxis, { scale: y, count: 1, format: rate })}
    <path
      class="curve rate"
      d="${line(rates.map(({ step, mean }) => [x(step), y(mean)] as const))}"
    />
    <text class="tick end" x="${rateFrame.right}" y="${rateFrame.top - 4}"
      >learning rate, at most ${rate(peak)}</text
    >`;
}

/** In the upper right corner, which a loss that falls leaves free. */
function legend(entries: readonly { readonly name: string; readonly label: string }[]): Markup {
  // Wide enough for the larger letters on narrow screens.
  const widths = entries.map(({ label }) => 39 + 8 * label.length);
  let right = frame.right;
  const starts = widths.map(() => 0);
  for (let i = widths.length - 1; i >= 0; i--) starts[i] = right -= widths[i]!;
  return html`${entries.map(
    ({ name, label }, i) =>
      html`<line class="curve ${name}" x1="${starts[i]}" x2="${starts[i]! + 18}" y1="22" y2="22" />
        <text class="tick" x="${starts[i]! + 23}" y="26">${label}</text>`,
  )}`;
}
