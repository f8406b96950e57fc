const path = require('node:path');
const shared = require('../../jest.config.js');

/** For `npm run test:interop` alone: these tests need Python with transformers and its friends. */
module.exports = {
  ...shared,
  rootDir: path.join(__dirname, '../..'),
  testMatch: ['<rootDir>/test/interop/*.interop.ts'],
};
