{
  # node-gyp's way into our own build: `node-gyp rebuild` (what npm runs for a package with this
  # file) makes build/pare.node with cmake/build.js, which skips what is up to date.
  "targets": [
    {
      "target_name": "pare",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": [],
          "outputs": ["<(module_root_dir)/build/always"],
          "action": ["node", "<(module_root_dir)/cmake/build.js"],
        }
      ],
    }
  ]
}
