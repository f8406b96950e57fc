import { axes, px, shorten, type Frame } from './axes';
import type { Chart } from './chart';
import { bytes, fixed, metrics } from './format';
import { html, type Markup } from './markup';
import { linear, nice } from './scale';
import type {
  MetricName,
  MetricScore,
  ModelResult,
  ReportData,
  ReportLanguage,
  ReportTestSet,
} from './types';

interface Point {
  readonly model: ModelResult;
  readonly score: MetricScore;
  readonly x: number;
  readonly y: number;
}

interface Label {
  readonly point: Point;
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly end: boolean;
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const width = 520;
const height = 360;
const frame: Frame = { left: 46, right: width - 12, top: 16, bottom: height - 42 };
const lineHeight = 15;
const letterHeight = 10;

/** About how wide a label is; too wide rather than too narrow. */
function textWidth(text: string): number {
  return [...text].reduce((sum, c) => sum + (/[\u2e80-\uffef]/.test(c) ? 12 : 6.6), 0);
}

function boxOf({ text, x, y, end }: Label, height: number = lineHeight): Box {
  const size = textWidth(text);
  const left = end ? x - size : x;
  return { left, right: left + size, top: y - height / 2, bottom: y + height / 2 };
}

function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/** Where a label may stand: beside its point on either side, then farther and farther up and down. */
function places(point: Point): Label[] {
  const text = shorten(point.model.name, 30);
  const inner = point.x > (frame.left + frame.right) / 2;
  const lines = Math.ceil((frame.bottom - frame.top) / lineHeight);
  return Array.from({ length: 2 * lines + 1 }, (_, i) => Math.ceil(i / 2) * (i % 2 ? 1 : -1))
    .flatMap((shift) =>
      [inner, !inner].map((end): Label => {
        const y = Math.min(point.y + shift * lineHeight, frame.bottom - lineHeight / 2);
        return { point, text, x: point.x + (end ? -11 : 11), y, end };
      }),
    )
    .filter((label) => {
      const { left, right, top } = boxOf(label);
      return top >= 0 && (label.end === inner || (left >= frame.left && right <= width));
    });
}

/** Labels beside their points, where they cover neither each other nor a point. */
function placeLabels(points: readonly Point[]): Label[] {
  const marks = points.map(({ x, y }) => ({
    left: x - 6,
    right: x + 6,
    top: y - 6,
    bottom: y + 6,
  }));
  const placed: Label[] = [];
  for (const point of [...points].sort((a, b) => a.y - b.y)) {
    const candidates = places(point);
    const clear = (label: Label): boolean =>
      placed.every((other) => !overlap(boxOf(label), boxOf(other)));
    const covers = (label: Label): boolean =>
      marks.some((mark) => overlap(boxOf(label, letterHeight), mark));
    const best =
      candidates.find((label) => clear(label) && !covers(label)) ??
      candidates.find(clear) ??
      candidates[0]!;
    placed.push(best);
  }
  return placed;
}

/** Square, circle and diamond: the role is not told by colour alone. */
function mark({ model, x, y }: Point): Markup {
  if (model.role === 'teacher') {
    return html`<rect
      class="mark teacher"
      x="${px(x - 5)}"
      y="${px(y - 5)}"
      width="10"
      height="10"
    />`;
  }
  if (model.role === 'student') {
    return html`<path class="mark student" d="M${px(x)} ${px(y - 7)}l7 7l-7 7l-7 -7z" />`;
  }
  return html`<circle class="mark step" cx="${px(x)}" cy="${px(y)}" r="4.5" />`;
}

function whisker({ score, x }: Point, y: (value: number) => number): Markup | null {
  if (!score.interval) return null;
  const { low, high } = score.interval;
  if (!Number.isFinite(low) || !Number.isFinite(high)) return null;
  const from = px(y(low));
  const to = px(y(high));
  const [a, b] = [px(x - 4), px(x + 4)];
  return html`<path
    class="whisker"
    d="M${px(x)} ${from}V${to}M${a} ${from}H${b}M${a} ${to}H${b}"
  />`;
}

/**
 * Quality against size: bytes on disk across, one metric up, a point with its interval for every
 * model; null where no model has that score. The dashed line is the constant answer.
 */
export function tradeOffChart(
  data: ReportData,
  language: ReportLanguage,
  testSet: ReportTestSet,
  metric: MetricName,
  id: string,
): Chart | null {
  const { label, unit } = metrics.find(({ name }) => name === metric)!;
  const matches = (e: { language: string; testSet: string }): boolean =>
    e.language === language.code && e.testSet === testSet.id;
  const measured = data.models.flatMap((model) => {
    const score = model.evaluations.find(matches)?.scores[metric];
    return score && Number.isFinite(score.value) ? [{ model, score }] : [];
  });
  if (measured.length === 0) return null;
  const floor = data.constantAnswers.find(matches)?.scores[metric];
  const constant = floor && Number.isFinite(floor.value) ? floor : null;

  const values = measured.flatMap(({ score }) => [
    score.value,
    score.interval?.low ?? score.value,
    score.interval?.high ?? score.value,
  ]);
  if (constant) values.push(constant.value);
  const finite = values.filter(Number.isFinite);
  const [low, high] = nice(Math.min(...finite), Math.max(...finite), 5);
  const y = linear(Math.max(0, low), Math.min(100, high), frame.bottom, frame.top);
  const largest = Math.max(...measured.map(({ model }) => model.size.bytes));
  const x = linear(0, largest * 1.06, frame.left, frame.right);
  const points = measured.map(({ model, score }) => ({
    model,
    score,
    x: x(model.size.bytes),
    y: y(score.value),
  }));
  const name = `${label}, ${language.name}, ${testSet.name}`;
  const summary = measured
    .map(
      ({ model, score }) => `${model.name}: ${bytes(model.size.bytes)}, ${fixed(score.value, 1)}`,
    )
    .join('; ');

  const svg = html`<svg
    class="chart"
    role="img"
    aria-labelledby="${id}-title ${id}-desc"
    viewBox="0 0 ${width} ${height}"
  >
    <title id="${id}-title">${name} against bytes on disk</title>
    <desc id="${id}-desc">${summary}.</desc>
    ${axes(
      frame,
      {
        scale: x,
        count: 5,
        format: (value) => bytes(value).replace(/\.0+ |(\.\d*[1-9])0+ /, '$1 '),
      },
      { scale: y, count: 5, format: String },
    )}
    <text class="axis-name end" x="${frame.right}" y="${height - 6}">bytes on disk</text>
    ${
      constant &&
      html`<line
          class="constant"
          x1="${frame.left}"
          x2="${frame.right}"
          y1="${px(y(constant.value))}"
          y2="${px(y(constant.value))}"
        /><text class="tick" x="${frame.left + 6}" y="${px(y(constant.value) - 5)}"
          >constant answer</text
        >`
    }
    ${points.map((point) => whisker(point, y))}
    ${points.map(
      (point) =>
        html`<g
          ><title>
            ${point.model.name}: ${fixed(point.score.value, 1)} at ${bytes(point.model.size.bytes)}</title
          >${mark(point)}</g
        >`,
    )}
    ${placeLabels(points).map((text) => {
      const moved = Math.abs(text.y - text.point.y) > lineHeight / 2;
      const edge = text.end ? text.x + 3 : text.x - 3;
      return html`${
          moved &&
          html`<line
            class="leader"
            x1="${px(text.point.x)}"
            y1="${px(text.point.y)}"
            x2="${px(edge)}"
            y2="${px(text.y)}"
          />`
        }<text
          class="label ${text.point.model.role}${text.end ? ' end' : ''}"
          x="${px(text.x)}"
          y="${px(text.y + 4)}"
          >${text.text}</text
        >`;
    })}
  </svg>`;
  const title = `${label}${unit && ` (${unit})`}, ${language.name}`;
  return { svg, width, height, title, note: testSet.name };
}
