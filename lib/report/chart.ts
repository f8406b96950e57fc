import { html, type Markup } from './markup';

/** A plot with what is said about it; where it stands decides how that is set. */
export interface Chart {
  readonly svg: Markup;
  /** Of the plot's own box, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly title: string;
  /** What is less important. */
  readonly note: string;
}

/** The plot in a page, its title above it. */
export function figure({ svg, title, note }: Chart): Markup {
  return html`<figure>
    <figcaption>${title} <span class="quiet">${note}</span></figcaption>
    ${svg}
  </figure>`;
}
