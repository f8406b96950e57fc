/** For cells of a notebook: what they show is HTML as text, given to the notebook's own `display`. */
export { audioElement, type AudioElementOptions } from './audio-element';
export { live, type Display, type LiveOptions } from './live';
