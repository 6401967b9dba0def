import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Real daemons: two cores have room for a few.
    maxConcurrency: 4,
    maxWorkers: 3,
  },
});
