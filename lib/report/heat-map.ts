import type { Chart } from './chart';
import { fixed } from './format';
import { html, type Markup } from './markup';
import type { ImportanceIteration, ImportanceSearch } from './types';

type CellState = 'candidate' | 'removed' | 'gone' | 'protected' | 'unknown';

interface Cell {
  readonly layer: number;
  readonly state: CellState;
  readonly score: number | null;
}

/** One row of the map: what became of every layer in an iteration. */
function cells(
  search: ImportanceSearch,
  iteration: ImportanceIteration,
  gone: Set<number>,
): Cell[] {
  const scores = new Map(iteration.candidates.map(({ layer, score }) => [layer, score]));
  return Array.from({ length: search.layers }, (_, layer) => {
    const measured = scores.get(layer);
    // A model can be so broken that its loss is no number.
    const score = Number.isFinite(measured) ? (measured ?? null) : null;
    let state: CellState = score === null ? 'unknown' : 'candidate';
    if (layer === iteration.removed) state = 'removed';
    else if (gone.has(layer)) state = 'gone';
    else if (search.protectedLayers.includes(layer)) state = 'protected';
    return { layer, state, score };
  });
}

function rows(search: ImportanceSearch): Cell[][] {
  const gone = new Set<number>();
  return search.iterations.map((iteration) => {
    const row = cells(search, iteration, gone);
    gone.add(iteration.removed);
    return row;
  });
}

const cellHeight = 30;
const left = 62;
const top = 40;
const right = 74;

/**
 * The search as a heat map, layers across and iterations down. A cell is the score of the model
 * without that layer, the darker the better; the layer removed for good has a frame.
 */
export function heatMap(search: ImportanceSearch, id: string): Chart {
  const grid = rows(search);
  const cellWidth = Math.max(30, Math.min(64, Math.floor(880 / Math.max(search.layers, 1))));
  const digits = search.criterion.toLowerCase() === 'loss' ? 2 : 1;
  const scores = grid.flat().flatMap(({ score }) => (score === null ? [] : [score]));
  const low = scores.reduce((a, b) => Math.min(a, b), Infinity);
  const high = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  /** 0 for the worst score of the map, 1 for the best. */
  const strength = (score: number): number => {
    const part = high > low ? (score - low) / (high - low) : 1;
    return search.higherIsBetter ? part : 1 - part;
  };
  const gridRight = left + cellWidth * search.layers + right;
  const width = Math.max(gridRight, left + 540);
  const legendTop = top + cellHeight * grid.length + 20;
  const height = legendTop + 22;

  const draw = (cell: Cell, row: number): Markup => {
    const x = left + cell.layer * cellWidth;
    const y = top + row * cellHeight;
    const box = (kind: string, opacity?: string): Markup =>
      html`<rect
        class="${kind}"
        x="${x + 1}"
        y="${y + 1}"
        width="${cellWidth - 2}"
        height="${cellHeight - 2}"
        rx="3"
        ${opacity ? html` fill-opacity="${opacity}"` : ''}
      />`;
    if (cell.state === 'gone') {
      return html`<g
        >${title(cell, row)}${box('cell-gone')}<text
          class="cell-mark"
          x="${x + cellWidth / 2}"
          y="${y + 19}"
          >×</text
        ></g
      >`;
    }
    if (cell.state === 'protected') {
      const hatch = html`<rect
        fill="url(#${id}-hatch)"
        x="${x + 1}"
        y="${y + 1}"
        width="${cellWidth - 2}"
        height="${cellHeight - 2}"
        rx="3"
      />`;
      return html`<g>${title(cell, row)}${box('cell-gone')}${hatch}</g>`;
    }
    const part = cell.score === null ? 0 : strength(cell.score);
    return html`<g
      >${title(cell, row)}${box('cell', (0.05 + 0.95 * part).toFixed(3))}${
        cell.state === 'removed' ? box('cell-removed') : ''
      }<text
        class="cell-value${part > 0.78 ? ' on-strong' : part > 0.6 ? ' on-middle' : ''}${
          cell.state === 'removed' ? ' strong' : ''
        }"
        x="${x + cellWidth / 2}"
        y="${y + 19}"
        >${fixed(cell.score, digits)}</text
      ></g
    >`;
  };
  const title = (cell: Cell, row: number): Markup => {
    const what: Record<CellState, string> = {
      candidate: `${search.criterion} ${fixed(cell.score, 3)} without it`,
      removed: `${search.criterion} ${fixed(cell.score, 3)} without it: removed`,
      gone: 'already removed',
      protected: 'protected',
      unknown: 'not measured',
    };
    return html`<title>iteration ${row + 1}, layer ${cell.layer}: ${what[cell.state]}</title>`;
  };
  const order = search.iterations.map(({ removed }) => removed).join(', ');

  const svg = html`<svg
    class="chart"
    role="img"
    aria-labelledby="${id}-title ${id}-desc"
    viewBox="0 0 ${width} ${height}"
    width="${width}"
    height="${height}"
  >
    <title id="${id}-title">Importance of decoder layers, ${search.name}</title>
    <desc id="${id}-desc">
      Heat map of ${search.layers} layers by ${search.iterations.length} iterations. Removed, in
      this order: layers ${order}. The same numbers follow as a table.
    </desc>
    <defs>
      <pattern
        id="${id}-hatch"
        width="6"
        height="6"
        patternUnits="userSpaceOnUse"
        patternTransform="rotate(45)"
      >
        <line class="hatch" x1="0" y1="0" x2="0" y2="6" />
      </pattern>
    </defs>
    <text class="axis-name" x="${left}" y="12">decoder layer</text>
    <text class="axis-name end" x="${left - 10}" y="32">iteration</text>
    <text class="axis-name end" x="${gridRight}" y="32">kept score</text>
    ${Array.from(
      { length: search.layers },
      (_, layer) =>
        html`<text class="tick middle" x="${left + (layer + 0.5) * cellWidth}" y="32"
          >${layer}</text
        >`,
    )}
    ${grid.map((row, i) => {
      const kept = row.find(({ state }) => state === 'removed')?.score;
      const y = top + i * cellHeight + 19;
      return html`<text class="tick end" x="${left - 10}" y="${y}">${i + 1}</text>
        ${row.map((cell) => draw(cell, i))}
        <text class="tick strong end" x="${gridRight}" y="${y}">${fixed(kept, digits)}</text>`;
    })}
    ${legend(id, legendTop, fixed(low, digits), fixed(high, digits), search)}
  </svg>`;
  return { svg, width, height, title: 'Importance of decoder layers', note: search.name };
}

function legend(
  id: string,
  y: number,
  low: string,
  high: string,
  search: ImportanceSearch,
): Markup {
  const [worst, best] = search.higherIsBetter ? [low, high] : [high, low];
  const key = (at: number, label: string, ...marks: readonly Markup[]): Markup =>
    html`<g transform="translate(${left + at} ${y})"
      >${marks}<text class="tick" x="28" y="12">${label}</text></g
    >`;
  const box = (kind: string): Markup =>
    html`<rect class="${kind}" width="20" height="16" rx="3" />`;
  return html`<g>
    <text class="tick end" x="${left + 34}" y="${y + 12}">${worst}</text>
    ${[0.05, 0.2, 0.4, 0.6, 0.8, 1].map(
      (opacity, i) =>
        html`<rect
          class="cell"
          x="${left + 42 + i * 20}"
          y="${y}"
          width="20"
          height="16"
          fill-opacity="${opacity}"
        />`,
    )}
    <text class="tick" x="${left + 170}" y="${y + 12}">${best}</text>
    ${key(228, 'removed here', box('cell-removed'))}
    ${key(352, 'gone', box('cell-gone'), html`<text class="cell-mark" x="10" y="12">×</text>`)}
    ${key(
      432,
      'protected',
      box('cell-gone'),
      html`<rect fill="url(#${id}-hatch)" width="20" height="16" rx="3" />`,
    )}
  </g>`;
}

/** The numbers of the map, for those who do not see it and for copying. */
export function heatMapTable(search: ImportanceSearch): Markup {
  const digits = search.criterion.toLowerCase() === 'loss' ? 4 : 2;
  const word: Partial<Record<CellState, string>> = { gone: 'gone', protected: 'protected' };
  return html`<details>
    <summary>The same numbers as a table</summary>
    <div class="scroll" tabindex="0" role="region" aria-label="Importance scores, ${search.name}">
      <table class="plain">
        <thead>
          <tr>
            <th scope="col">Iteration</th>
            ${Array.from(
              { length: search.layers },
              (_, layer) => html`<th scope="col">layer ${layer}</th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${rows(search).map(
            (row, i) =>
              html`<tr>
                <th scope="row">${i + 1}</th>
                ${row.map(
                  ({ state, score }) =>
                    html`<td>
                      ${
                        word[state] ??
                        html`${fixed(score, digits)}${state === 'removed' ? ' (removed)' : ''}`
                      }
                    </td>`,
                )}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}
