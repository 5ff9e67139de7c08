"""The commands: one thin file each. Nothing heavy is imported until a command runs."""
