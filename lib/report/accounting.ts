import { shorten } from './axes';
import { bytes, fixed, integer, percent, ratio } from './format';
import { html, type Content, type Markup } from './markup';
import { teacherOf } from './select';
import type { ByteCategory, ModelResult, ReportData } from './types';

const categories: readonly ByteCategory[] = [
  'embeddings',
  'lm_head',
  'encoder',
  'projector',
  'decoder',
  'adapter',
  'quantisation state',
  'other',
];

function sum(model: ModelResult, category: ByteCategory): number {
  return model.size.bytesByCategory
    .filter((entry) => entry.category === category)
    .reduce((total, entry) => total + entry.bytes, 0);
}

function counted(value: number, whole: number | undefined): Markup {
  return html`<td class="pair">${integer(value)}</td>
    <td>${percent(ratio(value, whole))}</td>`;
}

/** The paper's count and the honest one, side by side. */
function counts(data: ReportData): Markup {
  const teacher = teacherOf(data)?.size;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Three counts of size">
    <table class="accounting">
      <thead>
        <tr>
          <th rowspan="2" scope="col">Model</th>
          <th rowspan="2" scope="col" class="text">Stored as</th>
          <th colspan="2" scope="colgroup">
            The paper's count<br /><span class="quiet">stored elements</span>
          </th>
          <th colspan="2" scope="colgroup">
            The honest count<br /><span class="quiet">logical parameters</span>
          </th>
          <th colspan="2" scope="colgroup">On disk<br /><span class="quiet">bytes</span></th>
          <th rowspan="2" scope="col">Bits per parameter</th>
        </tr>
        <tr>
          ${[0, 1, 2].map(
            () =>
              html`<th scope="col" class="pair">count</th>
                <th scope="col">of teacher</th>`,
          )}
        </tr>
      </thead>
      <tbody>
        ${data.models.map(
          ({ name, role, size }) =>
            html`<tr class="${role}">
              <th scope="row">${name}</th>
              <td class="text">${size.storage}</td>
              ${counted(
                size.storedElements,
                teacher?.storedElements,
              )}${counted(size.parameters, teacher?.parameters)}${counted(
                size.bytes,
                teacher?.bytes,
              )}
              <td>${fixed(ratio(size.bytes * 8, size.parameters), 2)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function sentence(data: ReportData): Content {
  const teacher = teacherOf(data);
  return data.models
    .filter(({ role }) => teacher && role === 'student')
    .map(
      ({ name, size }) =>
        html`<p>
          Two 4-bit weights packed into one byte count as one parameter in the paper. By that count
          “${name}” has ${percent(ratio(size.storedElements, teacher?.size.storedElements))} of the
          teacher's parameters; it has ${percent(ratio(size.parameters, teacher?.size.parameters))}
          of its weights and ${percent(ratio(size.bytes, teacher?.size.bytes))} of its
          bytes${
            teacher &&
            teacher.size.storage !== size.storage &&
            html` (the teacher is stored as ${teacher.size.storage})`
          }.
        </p>`,
    );
}

const barWidth = 760;
const nameWidth = 190;
const rowHeight = 34;

/** One bar a model, cut into what its bytes are spent on. */
function byteBars(data: ReportData, used: readonly ByteCategory[]): Markup {
  const largest = Math.max(1, ...data.models.map(({ size }) => size.bytes));
  const height = data.models.length * rowHeight;
  const scale = (barWidth - 70) / largest;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Bytes by category, chart">
      <svg
        class="chart"
        role="img"
        aria-labelledby="bytes-title bytes-desc"
        viewBox="0 0 ${nameWidth + barWidth} ${height}"
        width="${nameWidth + barWidth}"
        height="${height}"
      >
        <title id="bytes-title">Bytes on disk by category</title>
        <desc id="bytes-desc">Stacked bars; the table below has the numbers.</desc>
        ${data.models.map((model, row) => {
          let at = nameWidth;
          const y = row * rowHeight + 6;
          return html`<text class="label end" x="${nameWidth - 10}" y="${y + 16}"
              >${shorten(model.name, 26)}</text
            >${used.map((category) => {
              const amount = sum(model, category);
              const x = at;
              const width = amount * scale;
              at += width;
              return (
                amount > 0 &&
                html`<rect
                  class="part part-${categories.indexOf(category)}"
                  x="${x.toFixed(1)}"
                  y="${y}"
                  width="${width.toFixed(1)}"
                  height="22"
                  ><title>${model.name}, ${category}: ${integer(amount)} bytes</title></rect
                >`
              );
            })}<text class="tick" x="${(at + 7).toFixed(1)}" y="${y + 16}"
              >${bytes(model.size.bytes)}</text
            >`;
        })}
      </svg>
    </div>
    <ul class="legend">
      ${used.map(
        (category) =>
          html`<li>
            <span class="swatch part-${categories.indexOf(category)}"></span>${category}
          </li>`,
      )}
    </ul>`;
}

function byteTable(data: ReportData, used: readonly ByteCategory[]): Markup {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Bytes by category">
    <table>
      <thead>
        <tr>
          <th scope="col">Model</th>
          ${used.map((category) => html`<th scope="col">${category}</th>`)}
          <th scope="col">All</th>
        </tr>
      </thead>
      <tbody>
        ${data.models.map(
          (model) =>
            html`<tr class="${model.role}">
              <th scope="row">${model.name}</th>
              ${used.map(
                (category) =>
                  html`<td>${sum(model, category) > 0 ? integer(sum(model, category)) : '–'}</td>`,
              )}
              <td>${integer(model.size.bytes)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Sizes by three counts, and where the bytes go. */
export function accounting(data: ReportData): Content {
  if (data.models.length === 0) return null;
  const used = categories.filter((category) =>
    data.models.some((model) => sum(model, category) > 0),
  );
  return html`${sentence(data)}${counts(data)}${
    used.length > 0 &&
    html`<h3>Where the bytes are</h3>
      ${byteBars(data, used)}${byteTable(data, used)}`
  }`;
}
