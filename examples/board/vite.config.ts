import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // `pgherald` is a link to a folder with modules of its own: there must be one React and one TanStack Query.
  resolve: { dedupe: ["react", "react-dom", "@tanstack/react-query", "@tanstack/query-core"] },
  build: {
    // The folder stays, with the file that keeps it in the repository.
    emptyOutDir: false,
    cssCodeSplit: false,
    // No data URLs but the icon's, and no hashes: the binary names these three files.
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: { entryFileNames: "board.js", assetFileNames: "board[extname]", codeSplitting: false },
    },
  },
  // `npm run dev` beside a running `pgherald demo`.
  server: { proxy: { "/api": "http://127.0.0.1:8081" } },
});
