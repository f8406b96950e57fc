import { html, type Markup } from './markup';
import { ticks, type Scale } from './scale';

/** Room around the plot, in pixels. */
export interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface Axis {
  readonly scale: Scale;
  readonly count: number;
  readonly format: (value: number) => string;
}

/** A number for an SVG attribute, to a tenth of a pixel. */
export function px(value: number): string {
  return Number(value.toFixed(1)).toString();
}

/** At most `length` characters, the last an ellipsis where something was cut off. */
export function shorten(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}

/** Grid lines, tick labels and the two lines of the axes; the horizontal axis lies at the bottom. */
export function axes(frame: Frame, x: Axis | null, y: Axis): Markup {
  const horizontal = ticks(y.scale.low, y.scale.high, y.count).map((value) => {
    const at = px(y.scale(value));
    return html`<line class="grid" x1="${frame.left}" x2="${frame.right}" y1="${at}" y2="${at}" />
      <text class="tick end" x="${frame.left - 7}" y="${px(y.scale(value) + 4)}"
        >${y.format(value)}</text
      >`;
  });
  const vertical = x
    ? ticks(x.scale.low, x.scale.high, x.count).map((value) => {
        const at = px(x.scale(value));
        return html`<line
            class="axis"
            x1="${at}"
            x2="${at}"
            y1="${frame.bottom}"
            y2="${frame.bottom + 4}"
          /><text class="tick middle" x="${at}" y="${frame.bottom + 17}">${x.format(value)}</text>`;
      })
    : [];
  return html`${horizontal}<line
      class="axis"
      x1="${frame.left}"
      x2="${frame.right}"
      y1="${frame.bottom}"
      y2="${frame.bottom}"
    />${vertical}`;
}
