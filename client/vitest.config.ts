import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    // Whatever is waited for has a limit of its own: this one is for a test that hangs.
    testTimeout: 180_000,
    hookTimeout: 60_000,
    // Real daemons: two cores have room for a few.
    maxConcurrency: 4,
    maxWorkers: 3,
  },
});
