"""The child processes and the messages between them and the pipeline."""
