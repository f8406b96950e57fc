/** The stages of a recipe, each with what it needs of memory and disk. */
import { candidateCount, checkRemoval, defaultPromptBytes, trainingSteps } from '../compress';
import { isCuda } from '../torch/device';
import { keptFeatures } from '../train/examples';
import { defaultKeep } from '../train/retention';
import { clipsOf, type Trained } from './lessons';
import type { PlannedStage } from './plan';
import type { PlanInputs } from './plan-inputs';
import {
  decodingMemory,
  ModelCost,
  placed,
  programBytes,
  promptStateBytes,
  promptTokens as promptParts,
  stateBytes,
  trainingMemory,
  type Memory,
} from './plan-memory';
import type { TrainingSettings } from './recipe-schema';
import { largestLoad, promptLoad } from './workload';

/** Tokens of a prompt beside the audio. */
const promptTokens = promptParts.before + promptParts.behind;

/** The stages of a recipe, as a plan has them but for what they took. */
export function stagesOf(inputs: PlanInputs): PlannedStage[] {
  const onGpu = isCuda(inputs.device);
  return new Planner(inputs, onGpu).stages().map((stage) => {
    // These go from file to file.
    if (!onGpu || stage.name === 'pruned' || stage.name === 'quantized') {
      return { ...stage, peak: sumOf(stage.memory) };
    }
    const { memory, deviceMemory } = placed(stage.memory);
    const peaks = { peak: sumOf(memory), devicePeak: sumOf(deviceMemory) };
    return { ...stage, memory, deviceMemory, ...peaks };
  });
}

function sumOf(memory: Memory): number {
  return Object.values(memory).reduce((sum, bytes) => sum + bytes, 0);
}

/** What some stages leave, and the largest of what they need beside it while they run. */
export function diskOf(stages: readonly Pick<PlannedStage, 'disk' | 'workDisk'>[]): number {
  const kept = stages.reduce((sum, { disk }) => sum + disk, 0);
  return kept + Math.max(0, ...stages.map(({ workDisk }) => workDisk));
}

type Stage = Omit<PlannedStage, 'peak' | 'seconds'>;

class Planner {
  /** Features of all that is heard, as far as they are kept: float32, 100 frames a second. */
  readonly #features: number;

  constructor(
    readonly inputs: PlanInputs,
    readonly onGpu: boolean,
  ) {
    const all = inputs.lengths.seconds * 100 * inputs.shape.audio.numMelBins * 4;
    this.#features = Math.min(all, keptFeatures);
  }

  stages(): Stage[] {
    const { teacher, importance, heal, quantize, distill } = this.inputs.recipe;
    const stages: Stage[] = [];
    let model = new ModelCost(this.inputs.shape);
    if (teacher.train !== undefined) {
      stages.push(this.#training('teacher', model, teacher.train, teacher.train.lora));
    }
    stages.push(this.#decoding('evaluation-teacher', model));
    if (distill !== undefined)
      stages.push(this.#decoding('distilled', model, { program: 'decodingMuch' }));
    if (importance !== undefined) {
      const { remove } = importance;
      const layers = this.inputs.shape.text.numHiddenLayers;
      if (importance.method !== 'middle') {
        const candidates = candidateCount(checkRemoval(layers, importance).length, remove);
        stages.push({ ...this.#search(model), work: `${candidates} candidates` });
      }
      model = model.withLayers(layers - remove);
      stages.push(this.#copying('pruned', model));
      stages.push(this.#decoding('evaluation-pruned', model));
    }
    if (heal !== undefined) {
      stages.push(this.#training('healed', model, heal));
      stages.push(this.#decoding('evaluation-healed', model));
    }
    if (quantize !== undefined) {
      model = model.packed(quantize);
      stages.push(this.#copying('quantized', model));
      stages.push(this.#decoding('evaluation-quantized', model));
    }
    if (distill !== undefined) {
      stages.push(this.#training('student', model, distill, distill.lora));
      stages.push(this.#decoding('evaluation-student', model, { program: 'decodingAdapted' }));
    }
    return stages;
  }

  #training(
    name: Trained,
    model: ModelCost,
    settings: TrainingSettings,
    lora?: { r: number },
  ): Stage {
    const { microBatchSize, batchSize } = settings;
    const trained = lora === undefined ? model.parameters : model.loraParameters(lora.r);
    const { weights = 'float32' } = settings;
    const learnt = clipsOf(name, this.inputs);
    const utterances = this.inputs.lengths.utterances > 0 ? learnt.length : 0;
    // Those of a corpus that is not there are all alike, and fewer than some batches have.
    const clips =
      utterances > 0
        ? learnt
        : Array.from({ length: batchSize }, (_, i) => learnt[i % learnt.length]!);
    const window = 2 * this.inputs.shape.audio.maxSourcePositions;
    const atOnce = microBatchSize ?? batchSize;
    const memory = trainingMemory(model, largestLoad(clips, atOnce, window), {
      ...{ trained, optimizer: settings.optimizer, lora: lora !== undefined, weights },
      ...{ accumulates: atOnce < Math.min(batchSize, clips.length), bf16: settings.bf16 },
      ...{ checkpointing: settings.gradientCheckpointing, onGpu: this.onGpu },
    });
    const isKnown = settings.steps !== undefined || utterances > 0;
    const steps = isKnown ? trainingSteps(settings, Math.ceil(utterances / batchSize)) : 0;
    // One more than are kept while a new one is written.
    const checkpoints = Math.min(
      (settings.keep ?? defaultKeep) + 1,
      Math.max(1, Math.ceil(steps / settings.saveEvery)),
    );
    const onDisk = lora === undefined || !model.isPacked ? 0 : 2 * trained;
    return {
      name,
      parameters: model.parameters,
      trained,
      memory: { ...memory, features: this.#features },
      disk: model.bytesOnDisk + onDisk,
      workDisk: checkpoints * trained * stateBytes({ ...settings, lora }),
      ...(steps > 0 ? { work: `${steps} steps` } : {}),
    };
  }

  /** `encoded` are the audio tokens that are kept; those of eight batches unless given. */
  #decoding(
    name: string,
    model: ModelCost,
    { encoded, program }: { encoded?: number; program?: keyof typeof programBytes } = {},
  ): Stage {
    const { recipe, shape, lengths } = this.inputs;
    const { batchSize, maxNewTokens: newTokens } = recipe.generation;
    // Batches are padded to their longest clip, not to the window.
    const frames = Array<number>(batchSize).fill(Math.ceil(100 * lengths.longest));
    const load = promptLoad(frames, 2 * shape.audio.maxSourcePositions);
    const ahead = 8 * (load.tokens - batchSize * promptTokens);
    const memory = decodingMemory(model, load, { newTokens, encoded: encoded ?? ahead, program });
    const { parameters } = model;
    const more = { memory: { ...memory, features: this.#features }, disk: 0, workDisk: 0 };
    return { name, parameters, trained: 0, ...more };
  }

  #search(model: ModelCost): Stage {
    const { devSeconds, devUtterances } = this.inputs.lengths;
    const search = this.#decoding('importance', model, { encoded: devSeconds * 25 });
    const tokens = Math.ceil(devSeconds * 25) + devUtterances * promptTokens;
    const shared = this.inputs.recipe.languages.length * promptStateBytes(model, tokens);
    const cache = search.memory.cache! + Math.min(defaultPromptBytes, shared);
    return { ...search, memory: { ...search.memory, cache } };
  }

  /** From file to file. */
  #copying(name: string, { parameters, bytesOnDisk: disk }: ModelCost): Stage {
    const memory = { program: programBytes.copying };
    return { name, parameters, trained: 0, memory, disk, workDisk: 0 };
  }
}
