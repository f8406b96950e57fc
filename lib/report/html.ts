import { accounting } from './accounting';
import { figure } from './chart';
import { lossLabels, trainingChart } from './curve';
import { exampleTables } from './examples';
import { fixed } from './format';
import { heatMap, heatMapTable } from './heat-map';
import { html, Markup, type Content } from './markup';
import { overview, protocolTable, stageTable } from './overview';
import { resultTables } from './results';
import { conditions } from './select';
import { style } from './style';
import { tradeOffChart } from './trade-off';
import type { ImportanceSearch, LossKind, RemovedBlock, ReportData } from './types';

function isEmpty(content: Content): boolean {
  return Array.isArray(content) ? content.every(isEmpty) : !content;
}

function section(
  id: string,
  title: string,
  body: Content,
): { id: string; title: string; body: Content } | null {
  return isEmpty(body) ? null : { id, title, body };
}

function importance(search: ImportanceSearch, index: number): Markup {
  const order = search.iterations.map(({ removed }) => removed);
  const better = search.higherIsBetter ? 'highest' : 'lowest';
  return html`<h3>${search.name}</h3>
    <p>
      Criterion ${search.criterion} on ${search.devSegments} segments of
      <code>${search.devSet}</code>. A cell is the score of the model without that layer; in each
      iteration the layer whose absence scores ${better} goes for
      good.${
        search.fullScore !== null &&
        ` With every layer in place the score is ${fixed(search.fullScore, 2)}.`
      }
      Protected: ${search.protectedLayers.join(', ') || 'none'}. Layers bear their original numbers,
      from 0.
    </p>
    <p><strong>Removed, in this order: ${order.join(', ') || 'none'}.</strong></p>
    <div class="scroll" tabindex="0" role="region" aria-label="Heat map, ${search.name}">
      ${heatMap(search, `heat-${index}`).svg}
    </div>
    ${heatMapTable(search)}`;
}

function block({ name, layers }: RemovedBlock): Markup {
  return html`<h3>${name}</h3>
    <p>Removed at once, without a search. Layers bear their original numbers, from 0.</p>
    <p><strong>Removed: ${layers.join(', ') || 'none'}.</strong></p>`;
}

function tradeOffs(data: ReportData): Content {
  const figures = conditions(data).flatMap(({ language, testSet }, i) =>
    (['chrf', 'exact_match'] as const)
      .map((metric) => tradeOffChart(data, language, testSet, metric, `trade-${i}-${metric}`))
      .filter((chart) => chart !== null)
      .map(figure),
  );
  if (figures.length === 0) return null;
  return html`<p>
      Square: teacher; circles: steps on the way; diamond: student. Bars are 95 % intervals.
    </p>
    <div class="figures">${figures}</div>`;
}

function curves(data: ReportData): Content {
  const figures = data.curves
    .map((curve, i) => trainingChart(curve, `curve-${i}`))
    .filter((chart) => chart !== null)
    .map(figure);
  if (figures.length === 0) return null;
  const losses = data.curves.flatMap((curve) => curve.losses.filter((l) => l.points.length > 0));
  const explained = (Object.keys(lossLabels) as LossKind[])
    .filter((kind) => losses.some((series) => series.kind === kind))
    .map((kind) => {
      const { label, meaning } = lossLabels[kind];
      return html`<div>
        <dt>${label}</dt>
        <dd>${meaning}</dd>
      </div>`;
    });
  return html`${explained.length > 0 && html`<dl class="facts">${explained}</dl>`}
    <p>
      Where a point stands for several steps, it is their mean, and the band runs from the lowest of
      them to the highest.
    </p>
    <div class="figures">${figures}</div>`;
}

/**
 * The report as one HTML document: no script, no request to anywhere, light and dark, printable.
 * Plots are inline SVG, written by hand rather than by Observable Plot: that is ESM only, and the
 * colours here follow the reader's scheme.
 */
export function renderReport(data: ReportData): string {
  const sections = [
    section('results', 'Results', resultTables(data)),
    section('trade-off', 'Quality against size', tradeOffs(data)),
    section('accounting', 'Accounting', accounting(data)),
    section('importance', 'Importance of layers', [
      ...data.importance.map(importance),
      ...(data.blocks ?? []).map(block),
    ]),
    section('training', 'Training', curves(data)),
    section('examples', 'Examples', exampleTables(data)),
    section('protocol', 'Protocol', data.protocol.splits.length > 0 && protocolTable(data)),
    section('stages', 'Stages', data.stages.length > 0 && stageTable(data)),
    section(
      'recipe',
      'Recipe',
      data.recipe.yaml !== '' &&
        html`<pre class="scroll" tabindex="0"><code>${data.recipe.yaml}</code></pre>`,
    ),
  ].filter((part) => part !== null);
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'"
        />
        <meta name="generator" content="pare ${data.versions.pare}" />
        <title>${data.title}</title>
        <style>
          ${new Markup(style)}
        </style>
      </head>
      <body>
        <main>
          ${overview(data)}
          <nav aria-label="Sections">
            <ul>
              ${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}
            </ul>
          </nav>
          ${sections.map(
            ({ id, title, body }) =>
              html`<section aria-labelledby="${id}">
                <h2 id="${id}">${title}</h2>
                ${body}
              </section> `,
          )}
        </main>
      </body>
    </html> `;
  return page.text;
}
