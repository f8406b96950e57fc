/** A training log as the curve that the report draws. */
import type { CurvePoint, LossKind, LossSeries, TrainingCurve } from '../report';
import { mergePoints } from '../report/curve';
import type { TrainingLogEntry } from '../train/loop';

/** What a log may have apart, in the order of the legend. */
const parts: readonly LossKind[] = ['translation', 'ctc'];

/** The losses and learning rates of a log by step; values that are not finite are left out. */
export function curveOf(stage: string, log: readonly TrainingLogEntry[]): TrainingCurve {
  const apart = parts.map((kind) => seriesOf(log, kind)).filter(({ points }) => points.length > 0);
  const losses = apart.length > 0 ? apart : [seriesOf(log, 'loss')];
  const learningRate = pointsOf(log, 'learningRate');
  return { stage, steps: log.length, losses, learningRate, validation: [] };
}

function seriesOf(log: readonly TrainingLogEntry[], kind: LossKind): LossSeries {
  return { kind, points: pointsOf(log, kind) };
}

function pointsOf(log: readonly TrainingLogEntry[], key: string): readonly CurvePoint[] {
  const points = log.flatMap((entry): CurvePoint[] => {
    const value = entry[key];
    if (value === undefined || !Number.isFinite(value)) return [];
    return [{ step: entry.step, steps: 1, mean: value, low: value, high: value }];
  });
  return mergePoints(points);
}
