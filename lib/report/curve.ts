import { axes, px, type Frame } from './axes';
import { fixed, integer } from './format';
import { html, type Markup } from './markup';
import { linear, nice } from './scale';
import type { CurvePoint, TrainingCurve } from './types';

interface Bucket {
  readonly step: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Neighbouring steps drawn as one, so that a log of any length stays a small file. */
const maxBuckets = 240;

function buckets(points: readonly CurvePoint[]): Bucket[] {
  const size = Math.ceil(points.length / maxBuckets);
  const result: Bucket[] = [];
  for (let from = 0; from < points.length; from += size) {
    const part = points.slice(from, from + size);
    const losses = part.map(({ loss }) => loss);
    const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
    result.push({
      step: sum(part.map(({ step }) => step)) / part.length,
      mean: sum(losses) / part.length,
      low: Math.min(...losses),
      high: Math.max(...losses),
    });
  }
  return result;
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

/** Loss against step, the dev loss over it, the learning rate below; null where nothing was logged. */
export function trainingCurve(curve: TrainingCurve, id: string): Markup | null {
  const points = curve.points.filter(({ loss }) => Number.isFinite(loss));
  const validation = curve.validation.filter(({ loss }) => Number.isFinite(loss));
  if (points.length + validation.length === 0) return null;
  const series = buckets(points);
  const losses = [
    ...series.flatMap(({ low, high }) => [low, high]),
    ...validation.map(({ loss }) => loss),
  ];
  const steps = [...series, ...validation].map(({ step }) => step);
  const lowest = Math.min(...losses);
  const highest = Math.max(...losses);
  // Losses have a meaningful zero; leave it out only where it would flatten the curve.
  const [low, high] = nice(lowest < highest * 0.4 ? 0 : lowest, highest, 5);
  const x = linear(Math.min(...steps), Math.max(...steps), frame.left, frame.right);
  const y = linear(low, high, frame.bottom, frame.top);
  const ribbon = [
    ...series.map((b) => [x(b.step), y(b.high)] as const),
    ...[...series].reverse().map((b) => [x(b.step), y(b.low)] as const),
  ];
  const rates = points.flatMap(({ step, learningRate }) =>
    learningRate !== undefined && Number.isFinite(learningRate)
      ? [[step, learningRate] as const]
      : [],
  );
  const bottom = rates.length > 1 ? rateFrame : frame;
  const size = bottom.bottom + 42;
  const xAxis = { scale: x, count: 6, format: integer };
  const first = series[0];
  const last = series.at(-1);
  const lastDev = validation.at(-1);

  return html`<figure>
    <figcaption>
      ${curve.stage}
      <span class="quiet"
        >${
          last && html`loss ${fixed(first?.mean, 2)} to ${fixed(last.mean, 3)}`
        }${lastDev && html`${last && ', '}dev ${fixed(lastDev.loss, 3)}`}</span
      >
    </figcaption>
    <svg
      class="chart"
      role="img"
      aria-labelledby="${id}-title ${id}-desc"
      viewBox="0 0 ${width} ${size}"
    >
      <title id="${id}-title">Training loss, ${curve.stage}</title>
      <desc id="${id}-desc">
        ${integer(points.length)} logged
        steps${
          last &&
          html`; mean loss ${fixed(first?.mean, 3)} at the start, ${fixed(last.mean, 3)} at the end`
        }${lastDev && html`; dev loss ${fixed(lastDev.loss, 3)} at the end`}.
      </desc>
      ${axes(frame, rates.length > 1 ? null : xAxis, { scale: y, count: 5, format: String })}
      ${points.length > series.length && html`<path class="ribbon" d="${line(ribbon)}Z" />`}
      <path class="curve train" d="${line(series.map((b) => [x(b.step), y(b.mean)] as const))}" />
      <path class="curve dev" d="${line(validation.map((v) => [x(v.step), y(v.loss)] as const))}" />
      ${validation.map(
        (v) =>
          html`<circle class="curve-point" cx="${px(x(v.step))}" cy="${px(y(v.loss))}" r="3.2"
            ><title>step ${integer(v.step)}: dev loss ${fixed(v.loss, 4)}</title></circle
          >`,
      )}
      ${legend(series.length > 0, validation.length > 0)}
      ${rates.length > 1 && ratePanel(rates, x, xAxis)}
      <text class="axis-name end" x="${frame.right}" y="${size - 6}">step</text>
    </svg>
  </figure>`;
}

function ratePanel(
  rates: readonly (readonly [number, number])[],
  x: (step: number) => number,
  xAxis: Parameters<typeof axes>[1],
): Markup {
  const peak = rates.reduce((a, [, value]) => Math.max(a, value), 0);
  const y = linear(0, peak || 1, rateFrame.bottom, rateFrame.top);
  const stride = Math.ceil(rates.length / maxBuckets);
  const thinned = rates.filter((_, i) => i % stride === 0 || i === rates.length - 1);
  return html`${axes(rateFrame, xAxis, { scale: y, count: 1, format: rate })}
    <path
      class="curve rate"
      d="${line(thinned.map(([step, value]) => [x(step), y(value)] as const))}"
    />
    <text class="tick end" x="${rateFrame.right}" y="${rateFrame.top - 4}"
      >learning rate, at most ${rate(peak)}</text
    >`;
}

function legend(train: boolean, dev: boolean): Markup {
  const x = frame.right - 128;
  const entry = (name: string, label: string, at: number): Markup =>
    html`<line class="curve ${name}" x1="${at}" x2="${at + 18}" y1="22" y2="22" />
      <text class="tick" x="${at + 23}" y="26">${label}</text>`;
  return html`${train && entry('train', 'training', x)}${dev && entry('dev', 'dev', x + 82)}`;
}
